"""The line of a path in a TOML text."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerthost.config.document import TomlLines, line_of

CONFIG = """\
# [plugins] is not here
[plugins]
enabled = ["pagerduty"]

[[installations]]
provider = "pagerduty"
name = "acme"
[installations.settings]
region = "us"  # or "eu"
services = [
  { name = "checkout", integration_key = "env:PD_CHECKOUT" },
  # { name = "absent" },
  # },
  { name = "platform", integration_key = "file:/run/pd" },
]

[[rules]]
name = "Pages"
match = ['severity=~"error|critical"', 'team="data"']

[[rules.actions]]
use = "pagerduty.trigger"
[[rules.actions]]
use = "pagerduty.trigger"
severity = "default"

  [[ rules ]]
name = '''
[[rules]]
severity = "x" '''

[[rules.actions]]
severity = "loud"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("plugins", 2),
        ("plugins.enabled", 3),
        ("plugins.enabled[0]", 3),
        ("installations", 5),
        ("installations[0]", 5),
        ("installations[0].name", 7),
        ("installations[0].settings", 8),
        ("installations[0].settings.region", 9),
        ("installations[0].settings.services", 10),
        ("installations[0].settings.services[0]", 11),
        ("installations[0].settings.services[0].integration_key", 11),
        ("installations[0].settings.services[1]", 14),
        ("installations[0].settings.services[1].integration_key", 14),
        ("rules", 17),
        ("rules[0]", 17),
        ("rules[0].match[1]", 19),
        ("rules[0].actions", 21),
        ("rules[0].actions[0].use", 22),
        ("rules[0].actions[1]", 23),
        ("rules[0].actions[1].severity", 25),
        ("rules[1]", 27),
        ("rules[1].name", 28),
        ("rules[1].actions", 32),
        ("rules[1].actions[0].severity", 33),
    ],
)
def test_parts_of_a_configuration_are_found_on_their_lines(path: str, line: int) -> None:
    assert line_of(CONFIG, path) == line


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("plugins.disabled", 2),
        ("installations[0].settings.services[2].name", 10),
        ("installations[0].settings.services[0].key[3].x", 11),
        ("rules[1].severity", 27),
        ("rules[1].actions[1].use", 32),
        ("rules[7]", 17),
    ],
)
def test_missing_part_has_the_line_of_the_nearest_table(path: str, line: int) -> None:
    assert line_of(CONFIG, path) == line


@pytest.mark.parametrize("path", ["", "absent", "absent[0].name", "severity", "[0]", "."])
def test_part_outside_of_any_table_has_no_line(path: str) -> None:
    assert line_of(CONFIG, path) is None


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a.b = 1\nc = 2", "a.b", 1),
        ("a.b = 1\nc = 2", "a", 1),
        ("x = 1\n[a]\nb . \"c d\" . 'e' = 1", "a.b.c d.e", 3),
        ('x = 1\n"d.o.t" = 2', "d.o.t", 2),
        ('x = 1\n"d.o.t".y = 2', "d.o.t.z", 2),
        ('x = 1\n"\\u00e9\\"" = 2', 'é"', 2),
        ("[a.b]\nx = 1\n[a]\ny = 2", "a", 3),
        ("[a.b]\nx = 1\n[a]\ny = 2", "a.b", 1),
        ("[a]\n[b.c]\n[b.d]", "b", 2),
        ("['a#b'] # [c]\nx = 1", "a#b.x", 2),
        ("a = [\n[1],\n[\n2,\n3],\n]\nb = 1", "a[0][0]", 2),
        ("a = [\n[1],\n[\n2,\n3],\n]\nb = 1", "a[1]", 3),
        ("a = [\n[1],\n[\n2,\n3],\n]\nb = 1", "a[1][1]", 5),
        ("a = [\n[1],\n[\n2,\n3],\n]\nb = 1", "b", 7),
        ("a = [ # ]\n'#', # b = 1\n'''\n,''',\n2]", "a[2]", 5),
        ('a = """\nb = 1\n\\""" [c]\n"""""\nb = 2', "b", 5),
        ("a = '''\n'b = 1''''\nb = 2", "b", 3),
        ('a = ["""x"""", "y",\n"z"]', "a[2]", 2),
        ("a = ['''x'''', 'y',\n'z']", "a[2]", 2),
        ('a = ""\nb = \'\'\nc = """"""\nd = 1', "d", 4),
        ("a = 1979-05-27 07:32:00.5\nb = -1.5e3", "b", 2),
        ("a = []\nb = {}\nc = [{}, {x = [1, {\ty.z = 2}]}]", "c[1].x[1].y.z", 3),
        ("[[a]]\n[[a.b.c]]\n[[a]]\n[a.b]\n[[a.b.c]]\nx = 1", "a[1].b.c[0].x", 6),
        ("[[a]]\n[[a.b.c]]\n[[a]]\n[a.b]\n[[a.b.c]]\nx = 1", "a[1].b", 4),
        ("a = 1\r\nb = [\r\n1,\r\n2]\r\n[c]\r\nd = 3\r\n", "b[1]", 4),
        ("a = 1\r\nb = [\r\n1,\r\n2]\r\n[c]\r\nd = 3\r\n", "c.d", 6),
    ],
)
def test_all_forms_of_toml_are_parsed(text: str, path: str, line: int) -> None:
    tomllib.loads(text)
    assert line_of(text, path) == line


@pytest.mark.parametrize(
    "text",
    ["a = ]\nb = 1", ", }\nb = 1", 'a = """\nb = 1', "= [\n", "]]", '"\\q" = 1\nb = 1', "é = 1"],
)
def test_invalid_toml_raises_nothing(text: str) -> None:
    assert not accepts(text)
    assert line_of(text, "b") in {None, 2}


def test_inline_tables_over_several_lines_are_parsed() -> None:
    """TOML 1.1 allows them, whether or not this Python's `tomllib` does."""
    assert line_of("a = {\n  b = 1,\n  # [x]\n  c = [\n  2],\n}\n[d]", "a.c[0]") == 5
    assert line_of("a = {\n  b = 1,\n  # [x]\n  c = [\n  2],\n}\n[d]", "d") == 7


def written(value: object, path: str, indent: str) -> tuple[str, list[str]]:
    """Write a value over several lines if TOML allows it; return the path of each line."""
    if isinstance(value, list):
        text, paths = "[", [path]
        for index, item in enumerate(value):
            inner, below = written(item, f"{path}[{index}]", indent + " ")
            text += f" # ]\n{indent}{inner},"
            paths += below
        return text + "]", paths
    return f"{value!r}", [path]


@settings(deadline=None)
@given(st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=4), max_leaves=20))
def test_items_of_nested_arrays_are_found_on_their_lines(value: object) -> None:
    text, paths = written(value, "key", "")
    text = f"key = {text}\nafter = 1"
    tomllib.loads(text)
    assert [line_of(text, path) for path in [*paths, "after"]] == list(range(1, len(paths) + 2))


KEYS = st.sampled_from(
    [
        "a",
        "b",
        "c-1",
        "a.b",
        "b . a",
        "a.b.c",
        '"a]"',
        "'#'.a",
        '"x = \\"[b]\\""',
        '"\\u00e9".b',
        "7",
    ]
)
SCALARS = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "inf",
        "true",
        "07:32:00",
        "1979-05-27 07:32:00.5Z",
        '""',
        "''",
        '"]\\""',
        "'\\'",
        '"""\n[a]\nb = 1 \\""" # """',
        "'''\n'[[b]]''\n'''",
        '""""""',
        '"""a"""""',
        '"""a""""',
        "''''a''''",
    ]
)


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(inner, max_size=3)
    array = items.map(",".join).map("[{}]".format)
    tall_array = items.map(",\n".join).map("[ # [\n{}\n]".format)
    pairs = st.lists(st.builds("{}={}".format, KEYS, inner), max_size=2)
    return array | tall_array | pairs.map(", ".join).map("{{ {} }}".format)


VALUES = st.recursive(SCALARS, nested, max_leaves=6)
STATEMENTS = st.one_of(
    st.builds("{} = {} # a = [".format, KEYS, VALUES),
    st.builds("{}={}\r".format, KEYS, VALUES),
    st.builds("[{}]".format, KEYS),
    st.builds("\t[[ {} ]] # [a]".format, KEYS),
    st.sampled_from(["", "# [[a]]"]),
)


def accepts(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@st.composite
def toml_texts(draw: st.DrawFn) -> str:
    """Generate texts of statements, without statements that conflict with earlier ones."""
    text = ""
    for statement in draw(st.lists(STATEMENTS, max_size=12)):
        if accepts(f"{text}{statement}\n"):
            text += f"{statement}\n"
    return text


def paths_of(value: object, path: str = "") -> set[str]:
    """Return the paths of all values that `tomllib` parsed."""
    paths = {path}
    if isinstance(value, dict):
        for name, item in value.items():
            paths |= paths_of(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            paths |= paths_of(item, f"{path}[{index}]")
    return paths


@settings(deadline=None)
@given(toml_texts())
@example(CONFIG)
@example("a = " + "[" * 200 + "]" * 200)
def test_found_paths_are_those_of_tomllib(text: str) -> None:
    found = TomlLines(text).lines
    assert {*found, ""} == paths_of(tomllib.loads(text))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


@settings(deadline=None)
@given(st.text(st.sampled_from("[]{}=,.#\"'\\n\n\r ab1é")), st.text(st.sampled_from("ab.[]01")))
def test_any_text_raises_nothing(text: str, path: str) -> None:
    """Texts and paths may have any shape."""
    line = line_of(text, path)
    assert line is None or 1 <= line <= text.count("\n") + 1
