r"""Parse the syntax of matchers as Alertmanager does: a name, an operator and a value.

Alertmanager has two grammars, and parses a text by the classic one if that accepts it, else by the
UTF-8 one (``matcher/compat`` in https://github.com/prometheus/alertmanager):

- classic: the name has letters, digits, ``_`` and ``:``. The value is in double quotes, or extends
  to the next comma. A backslash before anything but ``\``, ``"`` and ``n`` is a backslash.
- UTF-8: names and values are in double quotes, with the escapes of Go, or are free of blanks and
  of ``{ } ! = ~ , \ " ' ` ``.

Here ``labels.NAME`` and ``details.NAME`` are names of the classic grammar too. Texts that
Alertmanager accepts, but that never match, are rejected: it compares ``team==data`` with ``=data``,
and ``team='data'`` with ``'data'``. Braces around the whole text must come in pairs: Alertmanager
strips the last one of ``team=~a{2}``, and compares with ``a{2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NoReturn, TypeAlias, cast

from hostspec.text import shorten

Operator: TypeAlias = Literal["=", "!=", "=~", "!~"]
Condition: TypeAlias = tuple[str, Operator, str]
"""Name, operator and value of one matcher."""

_BARE: Final = re.compile(r"""[^\s{}!=~,\\"'`]++""")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_OPERATOR: Final = re.compile(r"=~|!~|!=|=")
_BLANKS: Final = re.compile(r"\s*+")
_NOT_IN_NAMES: Final = re.compile(r"[<>()\[\]|&*+?^$;]")

_CLASSIC: Final = re.compile(
    r"((?:labels\.|details\.)?[a-zA-Z_:][a-zA-Z0-9_:]*+)\s*+(=~|=|!=|!~)\s*+(.*+)", re.DOTALL
)
_CLASSIC_PART: Final = re.compile(
    r'((?:[^,"\\]|\\[^,]?+|"(?:[^"\\]|\\.)*+(?:"|\\?$))*+)(,?)', re.DOTALL
)
_CLASSIC_ESCAPE: Final = re.compile(r'\\([\\"n])')
_NEVER_MEANT: Final = ("=", "~", "'", "`")

_GO_ESCAPE: Final = re.compile(
    rb'\\(?:([abfnrtv\\"])|x([\da-fA-F]{2})|([0-3][0-7]{2})'
    rb"|(?:u([\da-fA-F]{4})|U([\da-fA-F]{8}))|(.?))",
    re.DOTALL,
)
_GO_CHARACTERS: Final = dict(zip(b'abfnrtv\\"', b'\a\b\f\n\r\t\v\\"', strict=True))

_QUOTE_IT: Final = r"""put texts with blanks or any of { } ! = ~ , \ " ' ` into double quotes"""


def readings(text: str) -> Iterator[tuple[Condition, ...]]:
    """Yield the possible meanings of a text, the preferred one first; each has a matcher.

    Raises:
        ValueError: the text has no valid meaning; the reason has the remedy.
    """
    text = text.strip()
    classic = _classic(text)
    if classic:
        yield classic
    try:
        conditions = _Parser(text).conditions()
    except ValueError:
        if not classic:
            raise
        return
    if conditions != classic:
        yield conditions


def is_bare(name: str) -> bool:
    """Check whether a name needs no quotes."""
    return bool(_BARE.fullmatch(name)) and not _NOT_IN_NAMES.search(name)


def quoted(text: str) -> str:
    """Return a text in double quotes, as both grammars read it."""
    for character, plain in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(character, plain)
    return f'"{text}"'


def _classic(text: str) -> tuple[Condition, ...] | None:
    """Parse a text by the classic grammar; return None if it is not valid."""
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    conditions: list[Condition] = []
    for part, comma in _CLASSIC_PART.findall(text):
        if part.strip() or comma:
            condition = _classic_condition(part.strip())
            if condition is None:
                return None
            conditions.append(condition)
    return tuple(conditions)


def _classic_condition(text: str) -> Condition | None:
    found = _CLASSIC.fullmatch(text)
    if not found:
        return None
    name, operator, value = found.groups()
    in_quotes = _QUOTED.fullmatch(value)
    if in_quotes:
        value = in_quotes[1]
    elif (
        value.startswith(_NEVER_MEANT)
        or value.count("{") != value.count("}")
        or '"' in _CLASSIC_ESCAPE.sub("", value)
    ):
        return None
    value = _CLASSIC_ESCAPE.sub(lambda escape: escape[1].replace("n", "\n"), value)
    return name, cast("Operator", operator), value


class _Parser:
    """Parses a text by the UTF-8 grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def conditions(self) -> tuple[Condition, ...]:
        """Return the matchers of the whole text.

        Raises:
            ValueError: it is not valid, or has no matcher.
        """
        closing = "}" if self._match(re.compile(r"\{")) else ""
        conditions: list[Condition] = []
        while not self._ends_with(closing):
            conditions.append(self._condition())
            if not self._match(re.compile(",")):
                break
        if not self._ends_with(closing):
            end = "the closing brace at the end" if closing else "the end"
            name, operator, value = conditions[-1]
            last = f"{name if is_bare(name) else quoted(name)}{operator}{quoted(value)}"
            self._reject(f"a comma or {end} after {last}", _QUOTE_IT)
        if not conditions:
            reason = 'no matcher; use NAME="VALUE", or leave match out to match every alert'
            raise ValueError(reason)
        return tuple(conditions)

    def _condition(self) -> Condition:
        name = self._name()
        operator = self._match(_OPERATOR)
        if not operator:
            self._reject_comparison(self._text[self._position : self._position + 1])
            self._reject(f"=, !=, =~ or !~ after {name}", _QUOTE_IT)
        value = self._literal(
            f"a value after {name}{operator[0]}", f'use "" for an empty value; {_QUOTE_IT}'
        )
        return name, cast("Operator", operator[0]), value

    def _name(self) -> str:
        bare = _BARE.match(self._text, self._position)
        strange = _NOT_IN_NAMES.search(bare[0]) if bare else None
        if bare and strange:
            self._reject_comparison(strange[0])
            reason = f"{bare[0]} is not a name; put a label with such a name into double quotes"
            raise ValueError(reason)
        return self._literal("a name", 'a matcher is NAME="VALUE"')

    def _reject_comparison(self, character: str) -> None:
        if character in ("<", ">"):
            values = 'severity=~"error|critical"'
            reason = f"{character} is not an operator; list the values, as in {values}"
            raise ValueError(reason)

    def _literal(self, expected: str, hint: str) -> str:
        if bare := self._match(_BARE):
            return bare[0]
        in_quotes = self._match(_QUOTED)
        if not in_quotes:
            if self._text.startswith('"', self._position):
                self._reject("a closing double quote", r"within quotes, write \" for a quote")
            self._reject(expected, hint)
        return _unquoted(in_quotes[1])

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Consume a match, and the blanks after it."""
        found = pattern.match(self._text, self._position)
        if found:
            blanks = _BLANKS.match(self._text, found.end())
            self._position = blanks.end() if blanks else found.end()
        return found

    def _ends_with(self, closing: str) -> bool:
        return self._text[self._position : self._position + 2] == closing

    def _reject(self, expected: str, hint: str) -> NoReturn:
        rest = shorten(self._text[self._position :], 40)
        reason = f"expected {expected}, found {rest or 'the end'}; {hint}"
        raise ValueError(reason)


def _unquoted(text: str) -> str:
    """Replace the escapes of Go's string literals."""
    try:
        return _GO_ESCAPE.sub(_go_character, text.encode()).decode()
    except ValueError:
        reason = (
            rf'"{text}" has an unknown escape; '
            r"\\ is a backslash, \" a double quote, \n a line feed"
        )
        raise ValueError(reason) from None


def _go_character(escape: re.Match[bytes]) -> bytes:
    letter, hexadecimal, octal, short, long, _ = escape.groups()
    if letter:
        return bytes([_GO_CHARACTERS[letter[0]]])
    if hexadecimal or octal:
        return bytes([int(hexadecimal, 16) if hexadecimal else int(octal, 8)])
    if short or long:
        return chr(int(short or long, 16)).encode()
    raise ValueError
