"""The configuration file: its text, the lines of faults, and paths that are relative to it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import attrs

from hostspec.errors import Fault, FaultsError
from hostspec.secret import Secret
from hostspec.settings import SettingsError, join
from hostspec.structuring import structure


class ConfigurationError(FaultsError):
    """The configuration has faults; their paths are readable locations."""


def refuse(path: str, reason: str) -> NoReturn:
    """Raise a ConfigurationError with one fault."""
    raise ConfigurationError([Fault(path, reason)]) from None


_TABLE: Final = re.compile(r"(installations|rules|heartbeats)\[(\d+)\]\.?")
_FILE_SCHEME: Final = "file:"
_T = TypeVar("_T")


@attrs.frozen
class ConfigFile:
    """A configuration file: its path, its text, and the document with absolute references."""

    name: str
    text: str = attrs.field(repr=False)
    document: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return Path(self.name).parent

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read a file.

        Raises:
            ConfigurationError: it cannot be read, or is not valid TOML.
        """
        name = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
            document = tomllib.loads(text)
        except FileNotFoundError:
            refuse(name, "no such file; create one with `alerthost init`, or use --config")
        except OSError as error:
            refuse(name, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            refuse(name, f"is not UTF-8 text: byte {error.start} is invalid")
        except tomllib.TOMLDecodeError as error:
            refuse(name, f"is not valid TOML: {error}")
        absolute = {
            table: content if table == "rules" else absolute_files(content, path.parent)
            for table, content in document.items()
        }
        return cls(name, text, absolute)

    def table(self, name: str, kind: type[_T]) -> _T:
        """Return a table as an object of its settings class.

        Raises:
            ConfigurationError: it has faults.
        """
        try:
            return structure(kind, self.document.get(name, {}))
        except SettingsError as error:
            self.refuse(fault.below(name) for fault in error.faults)

    @property
    def installations(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The tables of all named installations, with their paths; they may have faults."""
        entries = self.document.get("installations")
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
                yield f"installations[{index}]", entry

    def refuse(self, faults: Iterable[Fault]) -> NoReturn:
        """Raise a ConfigurationError with faults of the document, located."""
        raise ConfigurationError(map(self.locate, faults)) from None

    def location_of(self, path: str) -> str:
        """Return the file's name, and the line of a path of the document if known."""
        line = line_of(self.text, path)
        return f"{self.name}, line {line}" if line else self.name

    def locate(self, fault: Fault) -> Fault:
        """Return a fault of the document with its file, line and table in front of its path."""
        parts = [self.location_of(fault.path)]
        rest = fault.path
        if table := _TABLE.match(rest):
            kind, index = table[1], int(table[2])
            entry = self.document[kind][index]
            named = "key" if kind == "heartbeats" else "name"
            name = entry.get(named) if isinstance(entry, Mapping) else None
            parts.append(f"{kind[:-1]} {name!r}" if name else f"{kind[:-1]} {index + 1}")
            rest = rest[table.end() :]
        if rest:
            parts.append(rest)
        return Fault(": ".join(parts), fault.reason)


def absolute_files(settings: Any, folder: Path) -> Any:
    """Return settings, raw or structured, with absolute ``file:`` references to secrets."""
    match settings:
        case Secret(reference=str(reference)):
            return Secret(_absolute(reference, folder))
        case str():
            return _absolute(settings, folder)
        case Mapping():
            return {name: absolute_files(value, folder) for name, value in settings.items()}
        case list() | tuple():
            return type(settings)(absolute_files(value, folder) for value in settings)
    if not attrs.has(type(settings)):
        return settings
    fields = attrs.fields(type(settings))
    changed = {each.alias: absolute_files(getattr(settings, each.name), folder) for each in fields}
    return attrs.evolve(settings, **changed)


def _absolute(text: str, folder: Path) -> str:
    path = text.removeprefix(_FILE_SCHEME)
    if path == text or not path:
        return text
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:  # the user has no home
        expanded = Path(path)
    return f"{_FILE_SCHEME}{(folder / expanded).absolute()}"


# Neither tomllib nor tomlkit keeps positions, so the text is scanned again for keys and brackets.

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

# A line of an array may look like a header, so headers are matched outside of values only.
_INSIDE: Final = re.compile(_TOKEN, re.VERBOSE | re.DOTALL)
_OUTSIDE: Final = re.compile(_HEADER + _TOKEN, re.VERBOSE | re.DOTALL | re.MULTILINE)


def line_of(text: str, path: str) -> int | None:
    """Return the line of a path in a TOML text, or of the nearest table or item around it.

    The path is that of a `Fault`. The result is None if the text has no part of it.
    """
    lines = TomlLines(text).lines
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)


class TomlLines:
    """The lines (``lines``) of the keys, items and tables of a TOML text, by path."""

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._last: dict[str, int] = {}  # index of the last item of each array, by path
        self._table = ""  # path of the current table
        self._value = ""  # path of the current value
        self._open: list[tuple[str, str]] = []  # open brackets: the character and the path
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
        *outer, name = _split_key(key)
        path = ""
        for part in outer:
            path = join(path, part)
            self.lines.setdefault(path, line)
            if path in self._last:
                path = f"{path}[{self._last[path]}]"
        self._table = join(path, name)
        if opening == "[[":
            self.lines.setdefault(self._table, line)
            self._last[self._table] = self._last.get(self._table, -1) + 1
            self._table = f"{self._table}[{self._last[self._table]}]"
        # the header of an inner table may have implied this one, at another line
        self.lines[self._table] = line

    def _read_key(self, key: str, line: int) -> None:
        self._value = self._open[-1][1] if self._open else self._table
        for name in _split_key(key):
            self._value = join(self._value, name)
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


def _split_key(key: str) -> Iterator[str]:
    """Split a dotted key and unquote its parts, as `tomllib` does."""
    try:
        inner: object = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        inner = {key: 0}
    while isinstance(inner, dict):
        ((name, inner),) = inner.items()
        yield name
