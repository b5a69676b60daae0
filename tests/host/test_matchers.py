"""Matchers in Alertmanager's syntax over an alert's fields, labels and details."""

from __future__ import annotations

import copy
import datetime as dt
import pickle

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hostspec.alert import Alert
from hostspec.host.matchers import Matcher, Operator, parse_matcher, parse_matchers

ALERT = Alert(
    "db-1/disk",
    "Disk full on db-1",
    status="acknowledged",
    severity="crit",
    scope="acme",
    source="db-1",
    component="postgres",
    group="storage",
    class_="disk",
    started_at=dt.datetime(2026, 11, 23, 4, 14, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    url="https://host.example/alerts/1",
    labels={
        "team": "data",
        "severity": "P1",
        "details.used": "a label",
        "labels.team": "inner",
        "two words": "größe\nline 2",
        "empty": "",
    },
    details={
        "used": 0.98,
        "text": "plain",
        "none": None,
        "on": True,
        "tree": {"é": [1, "x"]},
        "two words": 2,
    },
)


@pytest.mark.parametrize(
    ("text", "name", "operator", "value"),
    [
        ("team=data", "team", "=", "data"),
        (" team = data ", "team", "=", "data"),
        ("\tteam\n!=\n'data'".replace("'", '"'), "team", "!=", "data"),
        ('"team"="data"', "team", "=", "data"),
        ("{team=data}", "team", "=", "data"),
        ("{ team=data , }", "team", "=", "data"),
        ("team=data,", "team", "=", "data"),
        ("team=~[a-z]+|b.*", "team", "=~", "[a-z]+|b.*"),
        ("team!~[a-z]+", "team", "!~", "[a-z]+"),
        ('statuscode=~"5.."', "statuscode", "=~", "5.."),
        ('team=""', "team", "=", ""),
        ("a:b.c-d/é=🙂", "a:b.c-d/é", "=", "🙂"),
        ('"two words" = "größe\\nline 2"', "two words", "=", "größe\nline 2"),
        ('a="line 1\nline 2"', "a", "=", "line 1\nline 2"),
        ('path="C:\\\\new \\"x\\""', "path", "=", 'C:\\new "x"'),
        ('a="{b=\\"c\\",d}"', "a", "=", '{b="c",d}'),
        ('a=~"\\\\d+"', "a", "=~", "\\d+"),
        ("severity=critical", "severity", "=", "critical"),
        ('severity=" WARN "', "severity", "=", "warning"),
        ("severity!=Fatal", "severity", "!=", "critical"),
        ('severity=~"Error|CRITICAL"', "severity", "=~", "Error|CRITICAL"),
        ('status=" Firing "', "status", "=", "firing"),
        ("labels.severity=WARN", "labels.severity", "=", "WARN"),
    ],
)
def test_one_matcher_is_read_as_alertmanager_reads_it(
    text: str, name: str, operator: Operator, value: str
) -> None:
    assert parse_matcher(text) == Matcher(name, operator, value)
    assert parse_matchers(text) == (Matcher(name, operator, value),)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a=b,c!=d", ['a="b"', 'c!="d"']),
        ('{a="b", c!~"d",}', ['a="b"', 'c!~"d"']),
        ("{\n a = b,\n c =~ d.*\n}\n", ['a="b"', 'c=~"d.*"']),
        ('a="b,c}",d="e"', ['a="b,c}"', 'd="e"']),
    ],
)
def test_several_matchers_stand_in_one_text(text: str, canonical: list[str]) -> None:
    assert [str(matcher) for matcher in parse_matchers(text)] == canonical
    with pytest.raises(ValueError, match="expected one matcher, found 2"):
        parse_matcher(text)


QUOTE = r"""what holds blanks or any of { } ! = ~ , \ " ' ` stands in double quotes"""
SEVERITIES = "known are debug, info, warning, error, critical"
STATUSES = "known are firing, acknowledged, resolved"
A_NAME = 'a matcher is NAME="VALUE"'
EMPTY = 'no matcher in it; write NAME="VALUE", or leave it out to match every alert'
ESCAPES = r"is no escape; \\ is a backslash, \" a double quote, \n a line feed"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", EMPTY),
        (" ", EMPTY),
        ("{ }", EMPTY),
        (",", f"expected a name, found ,; {A_NAME}"),
        ("{,}", f"expected a name, found ,}}; {A_NAME}"),
        ("{", f"expected a name, found the end; {A_NAME}"),
        ("}", f"expected a name, found }}; {A_NAME}"),
        ("=b", f"expected a name, found =b; {A_NAME}"),
        ("a=b,,c=d", f"expected a name, found ,c=d; {A_NAME}"),
        ("{{a=b}}", f"expected a name, found {{a=b}}}}; {A_NAME}"),
        ('""=b', "the name is empty; it is that of a field or label"),
        ("a", f"expected =, !=, =~ or !~ after a, found the end; {QUOTE}"),
        ("two words=b", f"expected =, !=, =~ or !~ after two, found words=b; {QUOTE}"),
        ("a!b", f"expected =, !=, =~ or !~ after a, found !b; {QUOTE}"),
        ("a~b", f"expected =, !=, =~ or !~ after a, found ~b; {QUOTE}"),
        ("a=", f'expected a value after a=, found the end; "" is the empty one; {QUOTE}'),
        ("{a=}", f'expected a value after a=, found }}; "" is the empty one; {QUOTE}'),
        ("a==b", f'expected a value after a=, found =b; "" is the empty one; {QUOTE}'),
        ("a=~'b'", f"expected a value after a=~, found 'b'; \"\" is the empty one; {QUOTE}"),
        ("a=b c", f'expected a comma or the end after a="b", found c; {QUOTE}'),
        ("a=b}", f'expected a comma or the end after a="b", found }}; {QUOTE}'),
        ('a="b"c', f'expected a comma or the end after a="b", found c; {QUOTE}'),
        ("a=b\\n", f'expected a comma or the end after a="b", found \\n; {QUOTE}'),
        (
            "{a=b",
            f'expected a comma or the closing brace at the end after a="b", found the end; {QUOTE}',
        ),
        (
            "{a=b}}",
            f'expected a comma or the closing brace at the end after a="b", found }}}}; {QUOTE}',
        ),
        (
            "{a=b},c=d",
            f'expected a comma or the closing brace at the end after a="b", found }},c=d; {QUOTE}',
        ),
        (
            f"a={'!' * 41}",
            f'expected a value after a=, found {"!" * 40}…; "" is the empty one; {QUOTE}',
        ),
        (
            f"a={'!' * 40}",
            f'expected a value after a=, found {"!" * 40}; "" is the empty one; {QUOTE}',
        ),
        (
            'a="b',
            'expected a closing double quote, found "b; inside of the quotes \\" stands for one',
        ),
        (
            'a="b\\"',
            'expected a closing double quote, found "b\\"; inside of the quotes \\" stands for one',
        ),
        (
            '"a=b',
            'expected a closing double quote, found "a=b; inside of the quotes \\" stands for one',
        ),
        ('a="\\d+"', f"\\d {ESCAPES}"),
        ('a="\\t"', f"\\t {ESCAPES}"),
        ('a="\\\n"', f"\\\n {ESCAPES}"),
        ("severity=urgent", f'no severity is "urgent"; {SEVERITIES}'),
        ('severity!=""', f'no severity is ""; {SEVERITIES}'),
        ('severity=~"warn|critical"', f'no severity is "warn"; {SEVERITIES}'),
        ('severity!~"(urgent|high)"', f'no severity is "(urgent|high)"; {SEVERITIES}'),
        ("status=open", f'no status is "open"; {STATUSES}'),
        ("status=~open", f'no status is "open"; {STATUSES}'),
    ],
)
def test_what_is_no_matcher_is_refused_with_what_would_be_right(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 -- the whole reason is compared
        parse_matcher(text)
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("(", "missing ), unterminated subpattern at position 0"),
        ("*", "nothing to repeat at position 0"),
        ("(?U)a", "unknown extension ?U at position 1"),
        ("\\pL", "bad escape \\p at position 0"),
        ("a(?i)b", "global flags not at the start of the expression at position 1"),
        ("a{99999999999}", "the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "recursion"),
        ("[[:alpha:]]+", "Possible nested set at position 1"),
        ("[a--b]", "Possible set difference at position 2"),
    ],
)
@pytest.mark.parametrize("operator", ["=~", "!~"])
def test_an_expression_that_python_reads_not_at_all_or_unlike_others_is_refused(
    value: str, reason: str, operator: Operator
) -> None:
    for _ in range(2):  # the warnings too come each time
        with pytest.raises(ValueError, match="no regular expression of Python's") as refusal:
            Matcher("a", operator, value)
        assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "db-1/disk"),
        ("summary", "Disk full on db-1"),
        ("status", "acknowledged"),
        ("severity", "critical"),
        ("scope", "acme"),
        ("source", "db-1"),
        ("component", "postgres"),
        ("group", "storage"),
        ("class", "disk"),
        ("url", "https://host.example/alerts/1"),
        ("started_at", "2026-11-23T03:14:00+00:00"),
        ("updated_at", ""),
        ("team", "data"),
        ("nobody", ""),
        ("two words", "größe\nline 2"),
        ("class_", ""),
        ("labels", ""),
        ("details", ""),
        ("repairs", ""),
        ("labels.team", "data"),
        ("labels.severity", "P1"),
        ("labels.key", ""),
        ("labels.details.used", "a label"),
        ("labels.labels.team", "inner"),
        ("details.used", "0.98"),
        ("details.text", "plain"),
        ("details.none", ""),
        ("details.on", "true"),
        ("details.tree", '{"é": [1, "x"]}'),
        ("details.two words", "2"),
        ("details.tree.é", ""),
        ("details.team", ""),
    ],
)
def test_names_are_those_of_fields_then_labels(name: str, value: str) -> None:
    matcher = Matcher(name, "=~", ".*")
    assert matcher.value_of(ALERT) == value
    assert type(matcher.value_of(ALERT)) is str


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("team=data", True),
        ("team=DATA", False),
        ("team!=data", False),
        ("team!=web", True),
        ("team=~d.*", True),
        ("team=~dat", False),
        ("team=~ata", False),
        ("team=~web|data", True),
        ("team=~dat|web", False),
        ("team=~(?i)DATA", True),
        ("team!~dat", True),
        ("team!~d.*", False),
        ('nobody=""', True),
        ("empty=~.+", False),
        ('nobody!=""', False),
        ("nobody!=x", True),
        ("nobody=~.*", True),
        ("nobody!~.+", True),
        ('"two words"=~"größe.*"', False),
        ('"two words"=~"größe\\n.*"', True),
        ('"two words"=~"größe$"', False),
        ("severity=CRIT", True),
        ('severity=" page "', True),
        ("severity!=page", False),
        ("severity=error", False),
        ("severity=~ERROR|Critical", True),
        ("severity=~error|warning", False),
        ("severity!~error|Critical", False),
        ("severity=~C.*", True),
        ("severity=~crit.*|x", True),
        ("labels.severity=~p1", False),
        ("status=ACKNOWLEDGED", True),
        ("status=~ACK.*", True),
        ("status!=firing", True),
        ("class=disk", True),
        ("details.used=0.98", True),
        ("started_at=~2026-11-23T.*", True),
    ],
)
def test_whole_values_are_compared(text: str, *, matches: bool) -> None:
    assert parse_matcher(text).matches(ALERT) is matches


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (Matcher("team", "=", "data"), 'team="data"'),
        (Matcher("two words", "!=", ""), '"two words"!=""'),
        (Matcher('a"b', "=~", "\\d+\n"), '"a\\"b"=~"\\\\d+\\n"'),
        (Matcher("a", "!~", '"x"'), 'a!~"\\"x\\""'),
    ],
)
def test_the_canonical_text_quotes_the_value_and_a_name_that_needs_it(
    matcher: Matcher, text: str
) -> None:
    assert str(matcher) == text
    assert parse_matcher(text) == matcher


TEXTS = st.text(st.sampled_from("ab \\\"'`{}!=~,\n\r\té🙂"), max_size=8) | st.text()


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["=", "!=", "=~", "!~"]), TEXTS)
def test_the_canonical_text_reads_back_as_the_same_matcher(
    name: str, operator: Operator, value: str
) -> None:
    try:
        matcher = Matcher(name, operator, value)
    except ValueError:
        reject()
    assert parse_matchers(f"{{{matcher}, {matcher},}}") == (matcher, matcher)
    assert str(parse_matcher(str(matcher))) == str(matcher)


@settings(deadline=None)
@given(TEXTS)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        matchers = parse_matchers(text)
    except ValueError as refusal:
        assert str(refusal)  # noqa: PT017 -- it need not be raised
    else:
        assert matchers


@pytest.mark.parametrize("operators", [("=", "!="), ("=~", "!~")])
@settings(deadline=None)
@given(value=TEXTS)
def test_of_an_operator_and_its_opposite_one_holds(
    operators: tuple[Operator, Operator], value: str
) -> None:
    alert = Alert("k", labels={"a": value})
    one, other = (Matcher("a", operator, "a.*") for operator in operators)
    assert one.matches(alert) is not other.matches(alert)


def test_an_unknown_word_is_refused_however_a_matcher_is_made() -> None:
    with pytest.raises(ValueError, match='no severity is "WARN"'):
        Matcher("severity", "=", "WARN")


def test_a_matcher_is_a_value() -> None:
    """It is compared, hashed and copied by what it says, and shows no compiled expression."""
    matcher = parse_matcher("a=~b.*")
    assert {matcher, Matcher("a", "=~", "b.*")} == {matcher}
    assert matcher != Matcher("a", "!~", "b.*")
    assert repr(matcher) == "Matcher(name='a', operator='=~', value='b.*')"
    for copied in (copy.deepcopy(matcher), pickle.loads(pickle.dumps(matcher))):
        assert copied == matcher
        assert copied.matches(Alert("k", labels={"a": "bc"}))
