"""Finds the line of a TOML text that a fault's path speaks of.

`tomllib` keeps no positions, and neither does tomlkit, so the text is read again, for its
keys and brackets alone. Nothing is judged here: that was `tomllib`'s part.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final

_NAME: Final = r"""(?: [\w-]++ | "(?:\\.|[^"\\\n])*+" | '[^'\n]*+' )"""
_KEY: Final = rf"{_NAME} (?: [ \t]*+ \. [ \t]*+ {_NAME} )*+"

_TOKEN: Final = rf"""
    (?P<key> {_KEY} ) [ \t]*+ =
  | (?P<value>
        "{{3}} (?: \\. | [^\\] )*? "{{3,5}}  # up to two quotes of the value's own end it
      | '{{3}} .*? '{{3,5}}
      | "(?: \\. | [^"\\\n] )*+" | '[^'\n]*+' | [^\s\[\]{{}},\#"'=]++
      | [\[\]{{}},]
    )
  | \#[^\n]*+ | .
"""
_HEADER: Final = rf"^[ \t]*+ (?P<opening> \[{{1,2}} ) [ \t]*+ (?P<table> {_KEY} ) [ \t]*+ \] |"

# A line of an array may look like a header, so headers are looked for only outside of values.
_INSIDE: Final = re.compile(_TOKEN, re.VERBOSE | re.DOTALL)
_OUTSIDE: Final = re.compile(_HEADER + _TOKEN, re.VERBOSE | re.DOTALL | re.MULTILINE)


def line_of(text: str, path: str) -> int | None:
    """Find the line that a path speaks of, or of the nearest thing around it.

    Args:
        text: a TOML text that `tomllib` accepts; any other raises nothing, but means nothing.
        path: as in a `Fault`: dotted, items counted from 0, keys unquoted
            (``rules[1].actions[0].severity``).

    Returns:
        the line, counted from 1, of the longest beginning of `path` that `text` has: of its
        key, its item or its table's header. None if `text` has no part of it.
    """
    lines = _Reading(text).lines
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)


class _Reading:
    """One reading of one text.

    Attributes:
        lines: the line of each key, item and table, by its path.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._last: dict[str, int] = {}  # the index of the last item of each array, by path
        self._table = ""  # the table that keys outside of any bracket belong to
        self._value = ""  # the path of the value under way
        self._open: list[tuple[str, str]] = []  # brackets not closed yet: which, and whose path
        at, line = 0, 1
        while token := (_INSIDE if self._open else _OUTSIDE).match(text, at):
            match token.lastgroup:
                case "table":
                    self._read_header(token["opening"], token["table"], line)
                case "key":
                    self._read_key(token["key"], line)
                case "value":
                    self._read_value(token["value"], line)
            at = token.end()
            line += token[0].count("\n")

    def _read_header(self, opening: str, key: str, line: int) -> None:
        *outer, name = _names(key)
        path = ""
        for part in outer:
            path = _below(path, part)
            self.lines.setdefault(path, line)
            if path in self._last:
                path = f"{path}[{self._last[path]}]"
        self._table = _below(path, name)
        if opening == "[[":
            self.lines.setdefault(self._table, line)
            self._last[self._table] = self._last.get(self._table, -1) + 1
            self._table = f"{self._table}[{self._last[self._table]}]"
        # A table that was only implied so far, by the header of one inside it, is here.
        self.lines[self._table] = line

    def _read_key(self, key: str, line: int) -> None:
        self._value = self._open[-1][1] if self._open else self._table
        for name in _names(key):
            self._value = _below(self._value, name)
            self.lines.setdefault(self._value, line)

    def _read_value(self, found: str, line: int) -> None:
        bracket, owner = self._open[-1] if self._open else ("", "")
        if bracket == "[" and found not in {",", "]"}:
            self._value = f"{owner}[{self._last[owner]}]"
            self.lines.setdefault(self._value, line)
        if found in {"[", "{"}:
            self._open.append((found, self._value))
            self._last[self._value] = 0
        elif found in {"]", "}"}:
            del self._open[-1:]
        elif found == "," and bracket:
            self._last[owner] += 1


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _names(key: str) -> Iterator[str]:
    """Split a dotted key and read its quotes, as `tomllib` does."""
    try:
        inner: object = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        inner = {key: 0}
    while isinstance(inner, dict):
        ((name, inner),) = inner.items()
        yield name
