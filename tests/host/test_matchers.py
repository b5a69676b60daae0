"""Matchers in Alertmanager's syntax over an alert's fields, labels and details."""

from __future__ import annotations

import copy
import datetime as dt
import pickle

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from alerthost.config.matchers import Matcher, Operator, parse_matchers
from hostspec.alert import Alert


def parse_matcher(text: str) -> Matcher:
    [matcher] = parse_matchers(text)
    return matcher


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
        ('severity=" WARN "', "severity", "=", " WARN "),
        ('severity=~"Error|CRITICAL"', "severity", "=~", "Error|CRITICAL"),
        ("a=", "a", "=", ""),
        ("a=b c", "a", "=", "b c"),
        ("a=b\\", "a", "=", "b\\"),
        (r'a="\d\t\\d"', "a", "=", r"\d\t\d"),
        ('a="\\\n"', "a", "=", "\\\n"),
        (r'labels.a=~"\d+"', "labels.a", "=~", r"\d+"),
        (r'details.a=~"\d+"', "details.a", "=~", r"\d+"),
        (r"a=x\,", "a", "=", "x\\"),
        (r"a=\"x\"", "a", "=", '"x"'),
        ("a=~b{2}", "a", "=~", "b{2}"),
        ("a=~[^!]+", "a", "=~", "[^!]+"),
        (r'"é"="\a\b\f\n\r\t\v\\\"\x41\101\u00e9\U0001f642"', "é", "=", '\a\b\f\n\r\t\v\\"AAé🙂'),
        ('"a[0]"="b"', "a[0]", "=", "b"),
        ("labels.severity=WARN", "labels.severity", "=", "WARN"),
    ],
)
def test_matcher_is_parsed_as_by_alertmanager(
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
        (r'{a=\d+, labels.b="\w,\"x\"",}', [r'a="\\d+"', r'labels.b="\\w,\"x\""']),
    ],
)
def test_text_may_have_several_matchers(text: str, canonical: list[str]) -> None:
    assert [str(matcher) for matcher in parse_matchers(text)] == canonical


QUOTE = r"""put texts with blanks or any of { } ! = ~ , \ " ' ` into double quotes"""
A_NAME = 'a matcher is NAME="VALUE"'
EMPTY = 'no matcher; use NAME="VALUE", or leave match out to match every alert'
NO_OPERATOR = '{} is not an operator; list the values, as in severity=~"error|critical"'
ESCAPES = r"has an unknown escape; \\ is a backslash, \" a double quote, \n a line feed"


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
        ('""=b', "the name is empty; use the name of a field or label"),
        ("a", f"expected =, !=, =~ or !~ after a, found the end; {QUOTE}"),
        ("two words=b", f"expected =, !=, =~ or !~ after two, found words=b; {QUOTE}"),
        ("a!b", f"expected =, !=, =~ or !~ after a, found !b; {QUOTE}"),
        ("a~b", f"expected =, !=, =~ or !~ after a, found ~b; {QUOTE}"),
        ("a==b", f'expected a value after a=, found =b; use "" for an empty value; {QUOTE}'),
        ("a=~'b'", f"expected a value after a=~, found 'b'; use \"\" for an empty value; {QUOTE}"),
        ("a=b}", f'expected a comma or the end after a="b", found }}; {QUOTE}'),
        ('a="b"c', f'expected a comma or the end after a="b", found c; {QUOTE}'),
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
            f"a=={'!' * 41}",
            f'expected a value after a=, found ={"!" * 39}…; use "" for an empty value; {QUOTE}',
        ),
        (
            f"a=={'!' * 39}",
            f'expected a value after a=, found ={"!" * 39}; use "" for an empty value; {QUOTE}',
        ),
        ('a="b', 'expected a closing double quote, found "b; within quotes, write \\" for a quote'),
        (
            'a="b\\"',
            'expected a closing double quote, found "b\\"; within quotes, write \\" for a quote',
        ),
        (
            '"a=b',
            'expected a closing double quote, found "a=b; within quotes, write \\" for a quote',
        ),
        (r'é="\d"', rf'"\d" {ESCAPES}'),
        (r'é="\ud800"', rf'"\ud800" {ESCAPES}'),
        (r'é="\xff"', rf'"\xff" {ESCAPES}'),
        ('severity>="error"', NO_OPERATOR.format(">")),
        ("severity > error", NO_OPERATOR.format(">")),
        ('severity<"error"', NO_OPERATOR.format("<")),
        ("team[=x", "team[ is not a name; put a label with such a name into double quotes"),
    ],
)
def test_invalid_matcher_is_rejected_with_the_remedy(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 -- the whole reason is compared
        parse_matcher(text)
    assert str(refusal.value) == reason


OWN = "for a label use labels."
SEVERITIES = "known are debug, info, warning, error, critical"
STATUSES = "known are firing, acknowledged, resolved"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('severity="ticket"', "ticket"),
        ('severity="P1"', "P1"),
        ('severity="none"', "none"),
        ('severity=~"warning|none"', "none"),
        ('severity!~"(?:(warning|P1))"', "P1"),
        ('severity=~"sev[12]"', "sev[12]"),
        ('status="open"', "open"),
        ('status=~"firing|open"', "open"),
    ],
)
def test_impossible_value_is_rejected_with_the_label_as_remedy(text: str, word: str) -> None:
    name, known = ("severity", SEVERITIES) if "severity" in text else ("status", STATUSES)
    with pytest.raises(ValueError, match="for a label use") as refusal:
        parse_matcher(text)
    assert str(refusal.value) == f'no {name} is "{word}"; {known}; {OWN}{text}'
    assert parse_matcher(f"labels.{text}")


@pytest.mark.parametrize(
    ("text", "word", "meant"),
    [
        ('status="firng"', "firng", "firing"),
        ('status!="resolve"', "resolve", "resolved"),
        ('status=~"Firng|resolved"', "Firng", "firing"),
        ('severity=~"critcal|error"', "critcal", "critical"),
        ('severity!~"(info|warnin)"', "warnin", "warning"),
    ],
)
def test_misspelt_value_is_rejected_with_the_right_one(text: str, word: str, meant: str) -> None:
    name = "severity" if "severity" in text else "status"
    with pytest.raises(ValueError, match="did you mean") as refusal:
        parse_matcher(text)
    assert str(refusal.value) == f'no {name} is "{word}"; did you mean "{meant}"?'


@pytest.mark.parametrize(
    "text", ['severity=""', 'severity!=""', 'severity=~""', 'severity=~"^critical|$"']
)
def test_empty_value_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="no severity is empty") as refusal:
        parse_matcher(text)
    assert str(refusal.value) == f"no severity is empty; {SEVERITIES}; {OWN}{text}"
    assert parse_matcher(f"labels.{text}")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('servity="critical"', "severity"),
        ('sevrity!~"info"', "severity"),
        ('Severity="critical"', "severity"),
        ('SUMMARY=~".*"', "summary"),
        ('staus="firing"', "status"),
        ('sumary=~".*"', "summary"),
        ('label.team="data"', "labels.team"),
        ('Labels.team="data"', "labels.team"),
        ('detail.used="1"', "details.used"),
    ],
)
def test_misspelt_field_is_rejected(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match="no alert has") as refusal:
        parse_matcher(text)
    name = text.partition(text.lstrip("SUMARYabcdefghijklmnopqrstuvwxyzL."))[0]
    own = f"For a label use labels.{name}"
    assert str(refusal.value) == f"no alert has {name}; did you mean {meant}? {own}"
    assert parse_matcher(f"labels.{text}")


@pytest.mark.parametrize(
    "name",
    [
        "service",
        "security",
        "server",
        "resource",
        "statuscode",
        "state",
        "tam",
        "score",
        "app.team",
    ],
)
def test_names_of_common_labels_are_accepted(name: str) -> None:
    assert Matcher(name, "=", "internal").name == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "the name is empty; use the name of a field or label"),
        ("labels.", "labels. is empty; use the name of a field or label"),
        ("details", "details is not text; for a label use labels.details"),
        ("links", "links is not text; for a label use labels.links"),
    ],
)
def test_empty_names_are_rejected(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match="label") as refusal:
        Matcher(name, "=", "x")
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("(", "missing ): ("),
        ("*", "no argument for repetition operator: *"),
        ("a)|(b", "unexpected ): a)|(b"),
        (r"\1", r"invalid escape sequence: \1"),
        ("[a--b]", "invalid character class range: a--"),
        (r"a\Z", r"the end of the text is \z in RE2"),
        ("a++", "RE2 needs no possessive repetition; use one operator"),
        ("^(?!kube-).*$", "RE2 has no lookahead; use the operator !~ to exclude values"),
        ("(?=a)b", "RE2 has no lookahead; use two matchers, both must match"),
        ("(?<!a)b", "RE2 has no lookbehind; use two matchers, both must match"),
        (
            "[^é]{1000}" * 50,
            "the expression is too large; use several rules or shorter repetitions",
        ),
        ("é" * 3 + "(", "missing ): ééé("),
    ],
)
@pytest.mark.parametrize("operator", ["=~", "!~"])
def test_invalid_expression_is_rejected_and_not_logged(
    value: str, reason: str, operator: Operator, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="not a valid RE2 expression") as refusal:
        parse_matcher(f"a{operator}{value}")
    quoted = str(refusal.value).rpartition(" is not a valid")[0]
    assert str(refusal.value) == f"{quoted} is not a valid RE2 expression: {reason}"
    assert capfd.readouterr() == ("", "")


def test_expression_takes_linear_time() -> None:
    """Python's own engine needs more than 150 seconds for the same text."""
    alert = Alert("k", summary="disk" * 375_000)
    assert not parse_matcher('summary=~".*disk.*full.*"').matches(alert)
    assert not parse_matcher('summary=~"(d|i|s|k|(disk)+)+x"').matches(alert)


def test_long_list_of_matchers_is_parsed() -> None:
    text = ",".join(f'a{n}=~"b\\d"' for n in range(5_000))
    assert len(parse_matchers(text)) == 5_000


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
        ("absent", ""),
        ("two words", "größe\nline 2"),
        ("class_", ""),
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
def test_name_is_a_field_or_else_a_label(name: str, value: str) -> None:
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
        ("team=~[[:alpha:]]+", True),
        (r'team=~"\w+"', True),
        (r'team=~"\pL+"', True),
        (r'team=~"data\z"', True),
        ('"two words"=~"größe.line 2"', False),
        ('"two words"=~"(?s)größe.line 2"', True),
        ('"two words"=~"(?i)GRÖSSE.*|GRÖßE\\n.{6}"', True),
        ("team!~dat", True),
        ("team!~d.*", False),
        ('absent=""', True),
        ("empty=~.+", False),
        ('absent!=""', False),
        ("absent!=x", True),
        ("absent=~.*", True),
        ("absent!~.+", True),
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
        ("severity=~page|high", True),
        ("severity=~^(?:(PAGE|high))$", True),
        ("severity!~page", False),
        ("severity=~e.*", False),
        ("severity=~(?:crit|x.*)", True),
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
def test_text_of_a_matcher_quotes_its_value_and_name(matcher: Matcher, text: str) -> None:
    assert str(matcher) == text
    assert parse_matcher(text) == matcher


TEXTS = st.text(st.sampled_from("ab \\\"'`{}!=~,\n\r\té🙂"), max_size=8) | st.text()


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["=", "!=", "=~", "!~"]), TEXTS)
@example("a", "=", "\\").via("a classic name")
@example("é", "=", "\\\n").via("a name in quotes")
def test_text_of_a_matcher_is_parsed_to_the_same_matcher(
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
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    try:
        matchers = parse_matchers(text)
    except ValueError as refusal:
        assert str(refusal)  # noqa: PT017 -- it need not be raised
    else:
        assert matchers


@pytest.mark.parametrize("operators", [("=", "!="), ("=~", "!~")])
@settings(deadline=None)
@given(value=TEXTS)
def test_operator_and_its_negation_are_opposite(
    operators: tuple[Operator, Operator], value: str
) -> None:
    alert = Alert("k", labels={"a": value})
    one, other = (Matcher("a", operator, "a.*") for operator in operators)
    assert one.matches(alert) is not other.matches(alert)


def test_matchers_are_values() -> None:
    """They are compared, hashed and copied by their text, and show no compiled expression."""
    matcher = parse_matcher("a=~b.*")
    assert {matcher, Matcher("a", "=~", "b.*")} == {matcher}
    assert matcher != Matcher("a", "!~", "b.*")
    assert repr(matcher) == "Matcher(name='a', operator='=~', value='b.*')"
    for copied in (copy.deepcopy(matcher), pickle.loads(pickle.dumps(matcher))):
        assert copied == matcher
        assert copied.matches(Alert("k", labels={"a": "bc"}))
