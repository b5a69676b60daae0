"""Rendered templates, faults found at load, and the bounds of a rendering."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from typing import Any

import pytest

from hostspec import Alert
from hostspec.testing.support import watched
from pagerduty_plugin import template_functions
from pagerduty_plugin.template_check import LOOP
from pagerduty_plugin.templates import (
    NAMES,
    STEADY_NAMES,
    TemplateError,
    evaluate,
    fault,
    render,
    values_of,
)

ALERT: dict[str, Any] = {
    "key": "db-1/disk",
    "summary": "disk full on db-1",
    "severity": "critical",
    "scope": "shop",
    "source": "db-1",
    "component": "postgres",
    "group": "storage",
    "class_": "disk",
    "started_at": dt.datetime(2026, 11, 23, 3, 14, tzinfo=dt.UTC),
    "url": "https://host.example/1",
    "labels": {"team": "data", "Zone": "a b"},
    "details": {
        "hosts": ["b", "A", "c", "a"],
        "disks": [{"name": "sda", "used": 3}, {"name": "sdb", "used": 1}],
        "load": 2.567,
        "count": 3,
        "flag": False,
        "nothing": None,
        "empty": "",
        "deep": {"a": {"b": "found"}},
        "items": "a member",
    },
}
VALUES = values_of(Alert(**ALERT), rule="Pages", service="checkout", installation="acme")
WRONG_TYPE = "uses a missing value, or one of the wrong type"
TOO_DEEP = "is nested more than 32 levels deep; simplify it"
UNCOMPILED = "cannot be compiled: a number is too long, or an argument is given twice"


def rendered(text: str, most: int = 1000, **details: object) -> str:
    """Render a valid template."""
    assert fault(text) is None
    values = {**VALUES, "details": details} if details else VALUES
    return render(text, values, most)


def failure_of(text: str, **details: object) -> str:
    """Render a template that fails, and return the reason."""
    with pytest.raises(TemplateError) as caught:
        rendered(text, **details)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


# Rendering


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ key }} {{ scope }} {{ source }} {{ component }}", "db-1/disk shop db-1 postgres"),
        ("{{ group }} {{ class }} {{ status }} {{ severity }}", "storage disk firing critical"),
        ("{{ rule }} {{ service }} {{ installation }}", "Pages checkout acme"),
        ("{{ started_at }} {{ url }}", "2026-11-23T03:14:00Z https://host.example/1"),
        ("[{{ updated_at }}]", "[]"),
        ("{% set class = 1 %}{{ class }}", "1"),
        ("{# nothing #} \n {{ key }} \n\n", "db-1/disk"),
        ("{{ details.absent }}{{ details.absent.a['b'][0].c }}{{ details['a.b'] }}x", "x"),
        ("{{ details.deep.a.b }} {{ details['deep']['a'].b }}", "found found"),
        ("{{ details.hosts[0] }}{{ details.hosts[-1] }}{{ details.hosts[9] }}", "ba"),
        ("{{ source[0] }}{{ details.hosts.x }}{{ details.count.x }}", "d"),
        ("{{ details[details.hosts] }}{{ details.hosts[key] }}x", "x"),
        ("{{ details.nothing }}{{ details.nothing.a }}x", "x"),
        (
            "{{ details.flag }} {{ details.load }} {{ details.deep }}",
            'false 2.567 {"a": {"b": "found"}}',
        ),
        ("{{ details.hosts }}", '["b", "A", "c", "a"]'),
        ("{{ details.hosts[1:3] }}{{ source[:2] }}{{ details.absent[1:] }}", '["A", "c"]db'),
        ("{{ details.hosts[::2] }}", '["b", "c"]'),
        ("{{ [details.absent, (1, 2), {'a': 1.5}] }}", '[null, [1, 2], {"a": 1.5}]'),
        ("{{ 'a' ~ 1 ~ details.absent ~ details.hosts[:1] }}", 'a1["b"]'),
        ("{{ 'a' + 'b' }} {{ [1] + [2] }} {{ 1 + 2 - 4 }}", "ab [1, 2] -1"),
        (
            "{{ 7 * 2 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 2 }} {{ 7 ** 2 }} {{ -7 }}",
            "14 3.5 3 1 49 -7",
        ),
        ("{{ 2 ** 0.5 > 1 }} {{ 2.0 ** 3 }}", "true 8.0"),
        (
            "{{ 1 < 2 < 3 }} {{ 'b' in details.hosts }} {{ 'z' not in details.hosts }}",
            "true true true",
        ),
        (
            "{{ 'team' in labels }} {{ 'x' in details.nothing }} {{ 'x' in details.absent }}",
            "true false false",
        ),
        ("{{ 'full' in summary and not details.flag or 1 }}", "true"),
        ("{{ 'yes' if details.count == 3 else 'no' }}{{ 'x' if details.flag }}", "yes"),
        ("{% if details.flag %}a{% elif details.count > 2 %}b{% else %}c{% endif %}", "b"),
        (
            "{% for host in details.hosts if host != 'A' %}{{ loop.index }}{{ host }} {% endfor %}",
            "1b 2c 3a",
        ),
        ("{% for host in details.absent %}x{% else %}none{% endfor %}", "none"),
        ("{% for host in details.nothing %}x{% else %}none{% endfor %}", "none"),
        (
            "{% for name, value in labels.items() %}{{ name }}={{ value }};{% endfor %}",
            "team=data;Zone=a b;",
        ),
        (
            "{% for a in range(2) %}{% for b in range(a, 3, 2) %}{{ a }}{{ b }} {% endfor %}"
            "{% endfor %}",
            "00 02 11",
        ),
        ("{% with a = 1, b = key %}{{ a }}{{ b }}{% endwith %}", "1db-1/disk"),
        ("{% set a, b = details.hosts[:2] %}{{ b }}{{ a }}", "Ab"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("<{{ '<&>' }}>", "<<&>>"),
    ],
)
def test_a_template_renders(text: str, expected: str) -> None:
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("filtered", "expected"),
    [
        ("-3|abs", "3"),
        ("summary|capitalize", "Disk full on db-1"),
        ("details.hosts|count", "4"),
        ("details.absent|d(1)", "1"),
        ("details.absent|default('x')", "x"),
        ("details.absent.a.b|default('x')", "x"),
        ("details.nothing|default('x')", "x"),
        ("details.empty|default('x')", "x"),
        ("details.flag|default('x', true)", "x"),
        ("labels|dictsort", '[["team", "data"], ["Zone", "a b"]]'),
        ("details.absent|dictsort", "[]"),
        ("123456789|filesizeformat", "123.5 MB"),
        ("details.hosts|first", "b"),
        ("labels|first", "team"),
        ("details.absent|first", ""),
        ("details.absent|float(1.5)", "1.5"),
        ("'a\nb\n\nc'|indent(2)", "a\n  b\n\n  c"),
        ("'7.9'|int", "7"),
        ("details.nothing|int(5)", "5"),
        ("('9' ~ details.long)|int(5)", "9"),
        ("labels|items", '[["team", "data"], ["Zone", "a b"]]'),
        ("details.hosts|join", "bAca"),
        ("details.hosts|join('-')", "b-A-c-a"),
        ("details.disks|join(', ', attribute='name')", "sda, sdb"),
        ("details.absent|join(', ')", ""),
        ("source|last", "1"),
        ("summary|length", "17"),
        ("details.nothing|length", "0"),
        ("details.absent|length", "0"),
        ("'ab'|list", '["a", "b"]'),
        ("'AB'|lower", "ab"),
        ("details.hosts|map('upper')", '["B", "A", "C", "A"]'),
        ("details.disks|map(attribute='used')|sum", "4"),
        ("details.disks|map(attribute='x', default=1)", "[1, 1]"),
        ("details.hosts|map('replace', 'a', 'z')", '["b", "A", "c", "z"]'),
        ("details.disks|max(attribute='used')", '{"name": "sda", "used": 3}'),
        ("[3, 1]|min", "1"),
        ("[]|min", ""),
        ("details.hosts|reject('in', ['a', 'b'])", '["A", "c"]'),
        ("details.disks|rejectattr('used', '>', 2)|map(attribute='name')", '["sdb"]'),
        ("details.disks|selectattr('used')|length", "2"),
        ("[0, 1]|select", "[1]"),
        ("[1, 2]|select('odd')", "[1]"),
        ("'a.b.c'|replace('.', '-')", "a-b-c"),
        ("'abc'|replace('', '-')", "-a-b-c-"),
        ("source|reverse", "1-bd"),
        ("details.load|round(1)", "2.6"),
        ("details.hosts|sort", '["A", "a", "b", "c"]'),
        ("details.disks|sort(attribute='used')|map(attribute='name')|last", "sda"),
        ("12|string|length", "2"),
        ("details.disks|sum('used', 10)", "14"),
        ("summary|title", "Disk Full On Db-1"),
        ("labels|tojson", '{"team": "data", "Zone": "a b"}'),
        ("[1]|tojson(indent=1)", "[\n 1\n]"),
        ("'  a '|trim", "a"),
        ("summary|truncate(8, true, '…', 0)", "disk fu…"),
        ("details.hosts|unique", '["b", "A", "c"]'),
        ("details.count|upper", "3"),
        ("'a b/ü'|urlencode", "a%20b/%C3%BC"),
        ("'aa bb'|wordwrap(2)", "aa\nbb"),
        ("labels.team.upper()", "DATA"),
        ("'a-b'.capitalize()", "A-b"),
        ("key.startswith('db') and key.endswith('disk')", "true"),
        ("labels.get('team', 'x') ~ labels.get('none', 'x')", "datax"),
        ("labels.get('none')", ""),
        ("details.absent.get('a', 'x')", "x"),
        ("labels.keys()", '["team", "Zone"]'),
        ("labels.values()", '["data", "a b"]'),
        ("details.items", "a member"),
        ("details.deep.items()", '[["a", {"b": "found"}]]'),
        ("'a b  c'.split()", '["a", "b", "c"]'),
        ("key.split('/')[1]", "disk"),
        ("' a '.strip() ~ 'A'.lower() ~ 'b c'.title() ~ 'x'.replace('x', 'y')", "aaB Cy"),
    ],
)
def test_a_filter_or_method_renders(filtered: str, expected: str) -> None:
    assert rendered(f"{{{{ {filtered} }}}}") == expected


def test_every_filter_and_method_has_an_example() -> None:
    [marks] = [
        mark
        for mark in test_a_filter_or_method_renders.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    ]
    text = " ".join(example for example, _ in marks.args[1])
    assert [name for name in template_functions.FILTERS if f"|{name}" not in text] == []
    assert [name for name in template_functions.METHODS if f".{name}(" not in text] == []


@pytest.mark.parametrize(
    "test",
    [
        "1 is odd and 2 is even and 6 is divisibleby 3 and 2 is not odd",
        "details.absent is undefined and key is defined and details.absent is not defined",
        "[details.nothing]|select('none')|list",
        "details.flag is boolean and details.flag is false and 1 is not true",
        "1 is integer and 1.5 is float and 1.5 is number and key is string",
        "labels is mapping and details.hosts is sequence and details.hosts is iterable",
        "'a' is lower and 'A' is upper and 'a' is in 'abc' and 'team' is in labels",
        "1 is eq 1 and 1 is equalto 1 and 1 is ne 2 and 1 is not in [2]",
        "2 is gt 1 and 2 is greaterthan 1 and 1 is ge 1 and 1 is le 1 and 1 is lt 2",
        "1 is lessthan 2 and 1 is not in details.nothing",
        "[1]|select('==', 1)|reject('!=', 1)|select('<=', 1)|select('>=', 1)|list == [1]",
        "[1]|reject('<', 1)|reject('>', 1)|list == [1]",
    ],
)
def test_a_test_holds(test: str) -> None:
    assert rendered(f"{{{{ 'yes' if {test} else 'no' }}}}") == "yes"


def test_a_loop_knows_its_position() -> None:
    every = " ".join(f"{{{{ loop.{name} }}}}" for name in sorted(LOOP))
    assert rendered(f"{{% for a in [1, 2] %}}{every};{{% endfor %}}") == (
        "true 1 0 false 2 2  2 1;false 2 1 true 2  1 1 0;"
    )


def test_every_name_has_a_value() -> None:
    assert set(VALUES) == NAMES
    assert {"labels", "key", "service"} < STEADY_NAMES < NAMES
    assert not STEADY_NAMES & {"summary", "severity", "status", "details", "started_at"}
    assert all(type(VALUES[name]) is str for name in NAMES - {"labels", "details", "updated_at"})


@pytest.mark.parametrize("text", ["", " plain ", "50 % {full}", "}} %} #}", "{ { x } }"])
def test_a_plain_text_stays_as_it_is(text: str) -> None:
    assert fault(text, frozenset()) is None
    assert render(text, {}, 100) == text


# Faults found at load


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ sumary }}", "'sumary' is unknown; did you mean 'summary'?"),
        ("{{ details.x.y|lenght }}", "the filter 'lenght' is unknown; did you mean 'length'?"),
        ("{{ 1 is evn }}", "the test 'evn' is unknown; did you mean 'even'?"),
        ("{{ key.uper() }}", "the method 'uper' is unknown; did you mean 'upper'?"),
        ("{{ rnge(3) }}", "the function 'rnge' is unknown; did you mean 'range'?"),
        ("{{ [1]|map('uper') }}", "the filter 'uper' is unknown; did you mean 'upper'?"),
        ("{{ [1]|select('od') }}", "the test 'od' is unknown; did you mean 'odd'?"),
        ("{{ [1]|selectattr('a', 'od') }}", "the test 'od' is unknown; did you mean 'odd'?"),
        ("{{ [1]|map(key) }}", "the filter 'map': write the name of the filter as a text"),
        ("{{ [1]|select(1) }}", "the filter 'select': write the name of the test as a text"),
        ("{{ [1]|map }}", "the filter 'map': needs the name of a filter, or an attribute"),
        (
            "{{ [1]|map('replace', 'a') }}",
            "the filter 'replace': missing a required argument: 'new'",
        ),
        (
            "{{ key|truncate(lenght=3) }}",
            "the filter 'truncate': got an unexpected keyword argument 'lenght'",
        ),
        ("{{ key|upper(1) }}", "the filter 'upper': too many positional arguments"),
        (
            "{{ key.startswith() }}",
            "the method 'startswith': missing a required argument: 'prefix'",
        ),
        ("{{ 4 is divisibleby }}", "the test 'divisibleby': missing a required argument: 'num'"),
        ("{{ range() }}", "the function 'range': missing a required argument: 'start'"),
        ("{{ range(start=1) }}", "the function 'range': 'start' parameter is positional only"),
        ("{{ key|join(*labels) }}", "the filter 'join': '*' is not supported"),
        ("{{ key|join(**labels) }}", "the filter 'join': '*' is not supported"),
        ("{{ key.name }}", "'key' is text and has no 'name'"),
        ("{{ key['name'] }}", "'key' is text and has no 'name'"),
        (
            "{% for a in [1] %}{{ loop.idx }}{% endfor %}",
            "in 'loop', 'idx' is unknown; did you mean 'index'?",
        ),
        ("{{ 'a%s' % key }}", "'%' is for numbers; join texts with '~'"),
        ("{{ 'a' * 3 }}", "'*' is for numbers; join texts with '~'"),
        ("{{ 3 * 'a' }}", "'*' is for numbers; join texts with '~'"),
        ("{{ labels.get(sumary) }}", "'sumary' is unknown; did you mean 'summary'?"),
        (
            "{{ key|default(x=sumary) }}",
            "the filter 'default': got an unexpected keyword argument 'x'; "
            "'sumary' is unknown; did you mean 'summary'?",
        ),
        ("{{ labels[sumary] }}", "'sumary' is unknown; did you mean 'summary'?"),
        ("{{ source[sumary:] }}", "'sumary' is unknown; did you mean 'summary'?"),
        ("{{ key()() }}", "only methods and functions can be called"),
        ("{% set key = 1 %}{{ key() }}", "the function 'key' is unknown; known are range"),
        ("{{ key", "unexpected end of template, expected 'end of print statement'"),
        ("{% if key %}", "Unexpected end of template. Jinja was looking for"),
        ("{{ 1 + }}", "unexpected 'end of print statement'"),
        ("{% bogus %}", "Encountered unknown tag 'bogus'"),
        ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", TOO_DEEP),
        ("{{ key" + "[0]" * 230 + " }}", TOO_DEEP),
        ("{{ 0x" + "f" * 9000 + " }}", UNCOMPILED),
        ("{{ key|default(boolean=1, boolean=1) }}", UNCOMPILED),
        ("{{ key }}" + "x" * 10_000, "is 10,009 characters long; the limit is 10,000"),
        (
            "{% for loop in [1] %}{% endfor %}",
            "Can't assign to special loop variable in for-loop target",
        ),
    ],
)
def test_a_fault_is_reported(text: str, reason: str) -> None:
    found = fault(text) or ""
    assert found.startswith(reason)
    assert not found.endswith(".")
    with pytest.raises(TemplateError) as caught:
        render(text, VALUES, 100)
    assert str(caught.value) == found


def test_a_fault_is_reported_once_per_line() -> None:
    assert fault("{% if 1 %}" * 40 + "{% endif %}" * 40) == TOO_DEEP
    assert fault("{{ a }}{{ a }}\n{{ a }}", frozenset({"key"})) == (
        "line 1: 'a' is unknown; known are key; line 2: 'a' is unknown; known are key"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{% macro a() %}{% endmacro %}",
        "{% call key() %}{% endcall %}",
        "{% import 'a' as b %}",
        "{% extends 'a' %}",
        "{% block a %}{% endblock %}",
        "{% filter upper %}a{% endfilter %}",
        "{% set a %}b{% endset %}",
        "{% autoescape true %}{% endautoescape %}",
    ],
)
def test_other_tags_are_refused(text: str) -> None:
    assert fault(text) == "only the tags if, for, with and set (with a value) are supported"


def test_a_recursive_loop_is_refused() -> None:
    assert fault("{% for a in [1] recursive %}{% endfor %}") == "'recursive' is not supported"


def test_setting_a_member_is_refused() -> None:
    assert fault("{% set a.b = 1 %}") == "'set' takes a name without a dot"


@pytest.mark.parametrize(
    "text",
    [
        "{% if key %}{% else %}\n{{ oops }}{% endif %}",
        "{% if key %}{% elif key %}\n{{ oops }}{% endif %}",
        "{% if key %}{% elif\noops %}{% endif %}",
        "{% for a in [] %}{% else %}\n{{ oops }}{% endfor %}",
        "{% for oops in [] %}{% endfor %}\n{{ oops }}",
        "{% for oops in\noops %}{% endfor %}",
        "{% for a in [] %}{% set oops = 1 %}{% endfor %}\n{{ oops }}",
        "{% for a in [] if\noops %}{% endfor %}",
        "{% with oops = 1 %}{% endwith %}\n{{ oops }}",
        "{% with a =\noops %}{% endwith %}",
        "{% set oops =\noops %}",
        "{{ 1 if key else\noops }}",
        "{{ key|default(\noops) }}",
        "{{ labels[\noops] }}",
    ],
)
def test_every_branch_is_checked(text: str) -> None:
    assert str(fault(text)).startswith("line 2: 'oops' is unknown; known are ")


def test_loop_is_known_in_loops_only() -> None:
    assert str(fault("{{ loop.index }}")).startswith("'loop' is unknown")
    assert (
        fault("{% for a in [] %}{% for b in loop.index %}{{ loop }}{% endfor %}{% endfor %}")
        is None
    )


def test_names_that_were_set_are_known() -> None:
    assert rendered("{% if key %}{% set a = 1 %}{% endif %}{{ a }}{% set a = 2 %}{{ a }}") == "12"
    assert rendered("{% set key = labels %}{{ key.team }}") == "data"


def test_all_faults_are_reported_at_once() -> None:
    assert fault("{% block a %}{% endblock %}{{ sumary }}\n\n{{ key|uper }}{{ sourc }}") == (
        "line 1: only the tags if, for, with and set (with a value) are supported; "
        "line 1: 'sumary' is unknown; did you mean 'summary'?; "
        "line 3: the filter 'uper' is unknown; did you mean 'upper'?; "
        "line 3: 'sourc' is unknown; did you mean 'source'?"
    )


def test_a_key_uses_no_value_that_may_change() -> None:
    assert fault("{{ rule }}/{{ labels.team }}", STEADY_NAMES) is None
    assert fault("{{ severity }}", STEADY_NAMES) == (
        "'severity' may change before the resolve, which needs the same key"
    )
    assert str(fault("{{ sevrity }}", STEADY_NAMES)).startswith("'sevrity' is unknown; ")


def test_nesting_is_bounded_at_load() -> None:
    deepest = "{{ details" + ".a" * 29 + " }}"
    assert rendered(deepest) == ""
    assert fault(deepest.replace(" }", ".a }")) == TOO_DEEP


# Bounds


def test_the_result_is_cut() -> None:
    assert rendered("{{ 'a' }}{{ 'bcd' }}", most=3) == "abc"
    assert rendered("{{ 'abcd' }}", most=3) == "abc"
    assert rendered("abcd{# #}", most=3) == "abc"
    assert rendered("abc {# #}   {{ 'd' }}", most=3) == "abc"
    assert rendered("{{ '  ' }} {{ 'a ' }}", most=3) == "a"
    assert rendered("{# #}", most=3) == ""
    assert render("abcd", {}, 3) == "abc"


def test_rendering_ends_when_the_result_is_long_enough() -> None:
    assert rendered("{% for a in range(9) %}{{ 8 // (5 - a) }}{% endfor %}", most=5) == "12248"


def test_long_texts_of_an_alert_can_be_cut_and_shown() -> None:
    log = "x" * 5_000_000
    assert rendered("{{ details.log|truncate(5, true, '') }}", log=log) == "xxxxx"
    assert rendered("{{ details.log[:5] }}{{ 'y' in details.log }}", log=log) == "xxxxxfalse"
    assert rendered("{{ details.log }}", log=log) == "x" * 1000


ITEMS = "goes through more than 100,000 items"
TEXT = "makes a text of more than 1,000,000 characters"
NUMBER = "makes a number of more than 1,024 bits"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% for a in range(1000000000000) %}{% endfor %}", "makes a range of more than 100,000 n"),
        ("{% for a in details.list %}{% for b in details.list %}{% endfor %}{% endfor %}", ITEMS),
        ("{% for a in details.list %}{% if a in details.list %}{% endif %}{% endfor %}", ITEMS),
        ("{% for a in details.list %}{{ details.list|sum }}{% endfor %}", ITEMS),
        ("{% for a in details.list %}{% if details.log|upper %}{% endif %}{% endfor %}", ITEMS),
        ("{% for a in details.list %}{% if a in details.log %}{% endif %}{% endfor %}", ITEMS),
        ("{% for a in details.list %}{% if details|tojson %}{% endif %}{% endfor %}", ITEMS),
        ("{{ details.list|select('in', details.list) }}", ITEMS),
        ("{{ details.list|map('replace', 'a', details.log) }}", ITEMS),
        ("{{ details.log|map('upper') }}", ITEMS),
        ("{% for a in details.list %}{{ details.blanks }}{% endfor %}", TEXT),
        ("{% for a in [1] %}{{ details.log|replace('x', details.log) }}{% endfor %}", TEXT),
        ("{{ details.log|replace('x', details.log) }}", TEXT),
        ("{{ details.log.replace('x', 'yy') }}", TEXT),
        ("{{ [details.log, details.log]|join }}", TEXT),
        ("{{ 2 ** 1025 }}", NUMBER),
        ("{{ 3 ** (10 ** 9) }}", NUMBER),
        ("{{ (2 ** 1000) * (2 ** 1000) }}", NUMBER),
    ],
)
def test_a_bound_is_enforced(text: str, reason: str) -> None:
    details = {"blanks": " " * 500_000, "list": ("a",) * 60_000, "log": "x" * 900_000}
    assert failure_of(text, **details).startswith(reason)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in details.list %}{% if a in labels %}x{% endif %}{% endfor %}",
        "{% for a in details.list[:900] %}{{ '' if details.list|length }}{% endfor %}",
        "{% for a in details.list[:90] %}{{ 'x' if a not in details.list }}{% endfor %}",
    ],
)
def test_long_lists_are_within_the_bounds(text: str) -> None:
    assert rendered(text, list=("",) * 100_000) == ""


def test_no_constant_is_evaluated_at_load() -> None:
    """Loading a rule must not take long, whatever its templates calculate."""
    assert fault("{{ 'a'|indent(1000000000) }}{{ 3 ** (10 ** 9) }}{{ range(10 ** 12) }}") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ 1 / 0 }}", "divides by zero"),
        ("{{ details.hosts|join(', ') + 1 }}", WRONG_TYPE),
        ("{{ details.absent + 1 }}", WRONG_TYPE),
        ("{{ key < 1 }}", WRONG_TYPE),
        ("{{ 'a'|abs }}", WRONG_TYPE),
        ("{{ '%1000000000d' is odd }}", WRONG_TYPE),
        ("{{ '%1000000000d' is divisibleby 3 }}", WRONG_TYPE),
        ("{{ '%1000000000d'|round }}", WRONG_TYPE),
        ("{{ ['a']|sum }}", WRONG_TYPE),
        ("{{ 3|list }}", WRONG_TYPE),
        ("{{ 3|items }}", WRONG_TYPE),
        ("{{ key|truncate('a') }}", WRONG_TYPE),
        ("{% for a in [1] %}{{ loop }}{% endfor %}", WRONG_TYPE),
        ("{{ 2.0 ** 10000 }}", "makes a number that is too large"),
        ("{{ ('inf'|float)|int }}", "makes a number that is too large"),
        ("{% set a, b = [1] %}", "uses a value that does not fit"),
        ("{{ key.split('') }}", "uses a value that does not fit"),
        ("{{ key.get('a') }}", WRONG_TYPE),
        ("{{ key * labels|length }}", WRONG_TYPE),
    ],
)
def test_a_failure_names_its_kind(text: str, reason: str) -> None:
    assert failure_of(text) == reason


def test_a_failure_names_its_line_and_no_value() -> None:
    assert failure_of("{{ key }}\n\n{{ details.x|abs }}\n", x="hunter2") == (
        f"line 3: {WRONG_TYPE}"
    )
    assert failure_of("{{ key\n }}{{ 10 ** 999 }}") == f"line 2: {NUMBER}"


ATTACKS = """\
    ''.__class__.__mro__
    key.__class__
    labels.__class__.__init__.__globals__
    details['__class__']
    self
    self._TemplateReference__context
    cycler
    environment
    range.__init__
    range
    loop
    '{0.__class__}'.format(1)
    key|attr('__class__')
    key|format(1)
    ()|map('attr', '__class__')
    labels.pop('team')
    details.hosts.append(1)
    namespace(a=1)
    caller()
    varargs
"""


@pytest.mark.parametrize("attack", [line.strip() for line in ATTACKS.split("\n") if line])
def test_the_sandbox_cannot_be_left(attack: str) -> None:
    quoted = attack.replace("'", "\\'")
    for text in (
        f"{{{{ {attack} }}}}",
        f"{{% set x = {attack} %}}{{{{ x }}}}",
        f"{{% for x in [{attack}] %}}{{{{ x }}}}{{% endfor %}}",
        f"{{{{ [key]|map(attribute='{quoted}')|first }}}}",
    ):
        if fault(text) is None:
            assert render(text, VALUES, 1000) in ("", "[]")


def test_a_label_cannot_choose_an_attribute() -> None:
    text = "{% for a in [1] %}{{ loop[labels.name] }}{{ key[labels.name] }}{% endfor %}"
    assert fault(text) is None
    assert render(text, {"key": "k", "labels": {"name": "__class__"}}, 100) == ""


# Purity and the extra


def test_rendering_is_pure() -> None:
    text = "{% for a in details.hosts|sort %}{{ a|upper }}{{ loop.index }}{% endfor %}{{ labels }}"
    assert fault(text) is None
    result, impure = watched(lambda: render(text, VALUES, 100))
    assert result.startswith("A1A2B3C4")
    assert impure == ()


def test_plain_texts_need_no_jinja2_and_templates_name_its_extra() -> None:
    program = """
import json, sys
from pagerduty_plugin.templates import TemplateError, evaluate, fault, render
results = [fault("plain {x}"), render("plain {x}", {}, 99), "jinja2" in sys.modules]
sys.modules["jinja2"] = None
for text in ("{{ key }}", "{% if key %}", "{# key #}"):
    results.append(fault(text))
    for run in (render, evaluate):
        try:
            run(text, {}, 99)
        except TemplateError as error:
            results.append(str(error))
print(json.dumps(results))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    missing = "a template needs Jinja2: pip install 'pagerduty-plugin[templates]'"
    assert json.loads(ran.stdout) == [None, "plain {x}", False, *[missing] * 9]


def test_a_single_expression_is_checked_before_it_is_evaluated() -> None:
    with pytest.raises(TemplateError, match="'moon' is unknown"):
        evaluate("{{ moon }}", {}, 10)
