r"""Matchers: which alerts a rule speaks of, in Alertmanager's syntax.

A matcher is a name, an operator (``=``, ``!=``, ``=~``, ``!~``) and a value, and several may
stand together, of which all must match::

    severity=~"error|critical"
    team = data
    {team="data", source!~"test-.*"}

Names and values are bare or in double quotes; bare ones hold neither blanks nor any of
``{ } ! = ~ , \ " ' ` ``. Inside the quotes ``\"``, ``\\`` and ``\n`` are escapes. Alertmanager
has two parsers (https://prometheus.io/docs/alerting/latest/configuration/#matcher, "UTF-8"
and "classic"); what they do not read alike, such as other escapes, is refused, not guessed.

A name is that of an alert's field in JSON, else of a label. ``labels.NAME`` is always a label,
and ``details.NAME`` a top-level member of the details, as JSON unless it is text. What an alert
does not have is the empty text.

Severity and status are words of a fixed set, matched whatever their case: a matcher that
speaks of another word would never do what it says, and is refused. ``=`` and ``!=`` also
understand the synonyms of `Severity.understand`.

Regular expressions are Python's (`re`, not RE2) and match the whole value. Where repetitions
are nested, as in ``(a+)+``, one can take exponential time on a value made for it: they come
from the configuration, which is trusted, and ``(?>a+)`` or ``a++`` is their cure.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import warnings
from collections.abc import Mapping
from typing import Final, Literal, NoReturn, TypeAlias, cast

import attrs

from hostspec.alert import Alert
from hostspec.normalise import Json
from hostspec.parts import Severity, Status

Operator: TypeAlias = Literal["=", "!=", "=~", "!~"]

_NOT_TEXT: Final = frozenset({"labels", "details", "links", "images", "repairs"})
_FIELDS: Final[Mapping[str, str]] = {
    field.name.rstrip("_"): field.name
    for field in attrs.fields(Alert)
    if field.name not in _NOT_TEXT
}
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "severity": tuple(Severity),
    "status": tuple(Status),
}

_BARE: Final = re.compile(r"""[^\s{}!=~,\\"'`]++""")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_OPERATOR: Final = re.compile(r"=~|!~|!=|=")
_ESCAPES: Final[Mapping[str, str]] = {'"': '"', "\\": "\\", "n": "\n"}

_QUOTE_IT: Final = r"""what holds blanks or any of { } ! = ~ , \ " ' ` stands in double quotes"""


def _has_a_name(_matcher: Matcher, _field: attrs.Attribute[str], name: str) -> None:
    if not name:
        reason = "the name is empty; it is that of a field or label"
        raise ValueError(reason)


def _is_a_known_word(matcher: Matcher, _field: attrs.Attribute[str], value: str) -> None:
    if matcher.regex is None and matcher.name in _WORDS and value not in _WORDS[matcher.name]:
        raise _unknown(matcher.name, value)


def _compiled(matcher: Matcher) -> re.Pattern[str] | None:
    """Compile a regular expression; one on words must match one, with each plain alternative."""
    if matcher.operator in {"=", "!="}:
        return None
    value, words = matcher.value, _WORDS.get(matcher.name, ())
    flags = re.IGNORECASE if words else re.NOFLAG
    try:
        with warnings.catch_warnings():
            # Python warns of what it reads unlike others, such as [[:alpha:]].
            warnings.simplefilter("error", FutureWarning)
            regex = re.compile(value, flags)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        reason = f"{_quoted(value)} is no regular expression of Python's: {error}"
        raise ValueError(reason) from None
    parts = value.split("|")
    for part in parts if all(map(str.isalnum, parts)) else [value]:
        if words and not any(re.fullmatch(part, word, flags) for word in words):
            raise _unknown(matcher.name, part)
    return regex


@attrs.frozen
class Matcher:
    """One condition on an alert.

    Attributes:
        name: what is compared: a field, a label, ``labels.NAME`` or ``details.NAME``.
        operator: ``=``, ``!=``, ``=~`` or ``!~``.
        value: what it is compared with: a text, or a regular expression for the whole of it.
        regex: the expression, compiled; None where texts are compared.

    Raises:
        ValueError: no name, a regular expression that Python does not understand, or a
            severity or status that no alert has.
    """

    name: str = attrs.field(validator=_has_a_name)
    operator: Operator
    value: str = attrs.field(validator=_is_a_known_word)
    regex: re.Pattern[str] | None = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_compiled, takes_self=True)
    )

    def __str__(self) -> str:
        name = self.name if _BARE.fullmatch(self.name) else _quoted(self.name)
        return f"{name}{self.operator}{_quoted(self.value)}"

    def value_of(self, alert: Alert) -> str:
        """Tell what of `alert` is compared; empty if the alert does not have it."""
        if self.name in _FIELDS:
            return _as_text(getattr(alert, _FIELDS[self.name]))
        if self.name.startswith("details."):
            return _as_text(alert.details.get(self.name.removeprefix("details.")))
        return alert.labels.get(self.name.removeprefix("labels."), "")

    def matches(self, alert: Alert) -> bool:
        """Tell whether the condition holds for `alert`."""
        value = self.value_of(alert)
        same = self.regex.fullmatch(value) is not None if self.regex else value == self.value
        return same is self.operator.startswith("=")


def parse_matcher(text: str) -> Matcher:
    """Read one matcher, with or without braces around it.

    Raises:
        ValueError: `text` is not one matcher; the reason says what would be right.
    """
    matcher, *others = parse_matchers(text)
    if others:
        reason = f"expected one matcher, found {1 + len(others)}"
        raise ValueError(reason)
    return matcher


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read one or more matchers with commas between them, with or without braces around them.

    As in Alertmanager a last comma is allowed. A text without any matcher is not: it would
    match every alert, which is more than anyone means by it.

    Raises:
        ValueError: `text` is something else; the reason says what would be right.
    """
    reader = _Reader(text)
    closing = "}" if reader.take(re.compile(r"\{")) else ""
    matchers = []
    while reader.rest != closing:
        matchers.append(reader.matcher())
        if not reader.take(re.compile(",")):
            break
    if reader.rest != closing:
        end = "the closing brace at the end" if closing else "the end"
        reader.refuse(f"a comma or {end} after {matchers[-1]}", _QUOTE_IT)
    if not matchers:
        reason = 'no matcher in it; write NAME="VALUE", or leave it out to match every alert'
        raise ValueError(reason)
    return tuple(matchers)


class _Reader:
    """Reads matchers from the beginning of a text.

    Attributes:
        rest: what has not been read yet, without blanks around it.
    """

    def __init__(self, text: str) -> None:
        self.rest = text.strip()

    def take(self, pattern: re.Pattern[str]) -> str:
        """Take what matches, and the blanks after it; empty if nothing does."""
        found = pattern.match(self.rest)
        if not found:
            return ""
        self.rest = self.rest[found.end() :].lstrip()
        return found[0]

    def matcher(self) -> Matcher:
        name = self._literal("a name", 'a matcher is NAME="VALUE"')
        operator = self.take(_OPERATOR)
        if not operator:
            self.refuse(f"=, !=, =~ or !~ after {name}", _QUOTE_IT)
        value = self._literal(
            f"a value after {name}{operator}", f'"" is the empty one; {_QUOTE_IT}'
        )
        if operator in {"=", "!="}:
            value = _understood(name, value)
        return Matcher(name, cast("Operator", operator), value)

    def refuse(self, expected: str, hint: str) -> NoReturn:
        longest = 40
        rest = self.rest if len(self.rest) <= longest else f"{self.rest[:longest]}…"
        reason = f"expected {expected}, found {rest or 'the end'}; {hint}"
        raise ValueError(reason)

    def _literal(self, expected: str, hint: str) -> str:
        if bare := self.take(_BARE):
            return bare
        quoted = self.take(_QUOTED)
        if not quoted:
            if self.rest.startswith('"'):
                self.refuse("a closing double quote", r"inside of the quotes \" stands for one")
            self.refuse(expected, hint)
        return re.sub(r"\\(.)", _unescaped, quoted[1:-1], flags=re.DOTALL)


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1] not in _ESCAPES:
        reason = rf"{escape[0]} is no escape; \\ is a backslash, \" a double quote, \n a line feed"
        raise ValueError(reason)
    return _ESCAPES[escape[1]]


def _quoted(text: str) -> str:
    for character, plain in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(character, plain)
    return f'"{text}"'


def _understood(name: str, word: str) -> str:
    """Read a severity or status as an alert's is read; all else stays as it is."""
    match name:
        case "severity":
            return str(Severity.understand(word) or word)
        case "status":
            return word.strip().casefold()
    return word


def _unknown(name: str, value: str) -> ValueError:
    return ValueError(f"no {name} is {_quoted(value)}; known are {', '.join(_WORDS[name])}")


def _as_text(value: Json | dt.datetime) -> str:
    match value:
        case None:
            return ""
        case str():
            return str(value)
        case dt.datetime():
            return value.isoformat()
    return json.dumps(value, ensure_ascii=False)
