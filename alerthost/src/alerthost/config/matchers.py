r"""Matchers: which alerts a rule applies to, in Alertmanager's syntax (`matcher_syntax`).

A matcher is a name, an operator (``=``, ``!=``, ``=~``, ``!~``) and a value, and several may
stand together, of which all must match::

    severity=~"error|critical"
    team = data
    {team="data", source!~"test-.*"}

A name is that of an alert's field in JSON, else of a label. ``labels.NAME`` is always a label,
and ``details.NAME`` a top-level member of the details, as JSON unless it is text. What an alert
does not have is the empty text. A name that is only nearly that of a field is refused, for the
rule would never match.

Severity and status have a fixed set of values, matched whatever their case, with the synonyms of
`Severity.understand`; in a regular expression a synonym counts where it is written out. Other
values never match, and are refused. So is ``none``: an alert with it counts as ``info``, and a
rule for ``none`` would match every other alert of that severity too.

Regular expressions are those of RE2 and match the whole value.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from alerthost.config.matcher_syntax import Operator, is_bare, quoted, readings
from alerthost.config.regex import Regex
from hostspec.alert import Alert, Severity, Status
from hostspec.normalisation import Json
from hostspec.text import closest

_NOT_TEXT: Final = frozenset({"labels", "details", "links", "images", "repairs"})
_FIELDS: Final[Mapping[str, str]] = {
    field.name.rstrip("_"): field.name
    for field in attrs.fields(Alert)
    if field.name not in _NOT_TEXT
}
_TABLES: Final = ("labels", "details")

_NEAR: Final = 0.84
"""How alike a name is to a field's, from 0 to 1, if it is taken for a mistake."""

_NEAR_WITH_VALUE: Final = 0.75
"""The same where the value is one of the field's."""


def _severity(word: str) -> str | None:
    return None if word == "none" else Severity.understand(word)


def _status(word: str) -> str | None:
    return word if word in set(Status) else None


_VALUES: Final[Mapping[str, tuple[tuple[str, ...], Callable[[str], str | None]]]] = {
    "severity": (tuple(Severity), _severity),
    "status": (tuple(Status), _status),
}
"""What severity and status may be, and how a word is understood."""

_WORD: Final = re.compile(r"\w+")
_ALTERNATIVES: Final = re.compile(r"\^?(?:\((?:\?:)?)*+([\w|]*+)\)*+\$?")
"""An expression of words only, with or without brackets and anchors."""


def _check_name(matcher: Matcher, _field: attrs.Attribute[str], name: str) -> None:
    if name in _FIELDS:
        return
    table, dot, rest = name.partition(".")
    if not name or (table in _TABLES and dot and not rest):
        reason = f"{name or 'the name'} is empty; it is that of a field or label"
    elif name in _NOT_TEXT:
        reason = f"{name} is no text; a label of this name is labels.{name}"
    elif meant := _meant(matcher):
        reason = f"no alert has {name}; did you mean {meant}? A label of this name is labels.{name}"
    else:
        return
    raise ValueError(reason)


def _meant(matcher: Matcher) -> str:
    """Return the name that a matcher nearly has; empty for none."""
    table, dot, rest = matcher.name.casefold().partition(".")
    if dot:
        near = closest(table, _TABLES, _NEAR)
        is_exact = matcher.name.startswith(tuple(f"{each}." for each in _TABLES))
        return f"{near}.{rest}" if near and not is_exact else ""
    if table in _FIELDS:
        return table
    near = closest(table, _FIELDS, _NEAR_WITH_VALUE)
    if not near or near in table or table in near:
        return ""
    is_near = difflib.SequenceMatcher(None, near, table).ratio() >= _NEAR
    return near if is_near or _understood(near, matcher.value) else ""


def _understood(name: str, word: str) -> str | None:
    """Return the severity or status that a word is; None for none."""
    if name not in _VALUES:
        return None
    _, understand = _VALUES[name]
    return understand(word.strip().casefold())


def _compiled(matcher: Matcher) -> Regex | None:
    if matcher.operator in {"=", "!="}:
        return None
    try:
        return Regex(matcher.value, ignore_case=matcher.name in _VALUES)
    except ValueError as error:
        reason = f"{quoted(matcher.value)} is no regular expression of RE2: {error}"
        raise ValueError(reason) from None


def _accepted(matcher: Matcher) -> frozenset[str]:
    """Return the severities or statuses of a value; empty where the name is another.

    Raises:
        ValueError: one of the words never comes.
    """
    if matcher.name not in _VALUES:
        return frozenset()
    known, _ = _VALUES[matcher.name]
    regex, value = matcher.regex, matcher.value
    if regex is None:
        required = written = [value]
    else:
        alternatives = _ALTERNATIVES.fullmatch(value)
        required = alternatives[1].split("|") if alternatives else []
        written = [word for word in (*_WORD.findall(value), *known) if regex.matches(word)]
    found = {word: _understood(matcher.name, word) for word in (*required, *written)}
    accepted = frozenset(each for each in found.values() if each)
    unknown = [word for word in required if not found[word]]
    if unknown or not accepted:
        raise ValueError(_unknown_value(matcher, unknown[0] if unknown else value))
    return accepted


def _unknown_value(matcher: Matcher, word: str) -> str:
    """Return why no alert has a severity or status, and what to write instead."""
    known, _ = _VALUES[matcher.name]
    near = closest(word.casefold(), known, _NEAR)
    if near:
        return f"no {matcher.name} is {quoted(word)}; did you mean {quoted(near)}?"
    never = f"is {quoted(word)}" if word.strip() else "is empty"
    own = f"labels.{matcher.name}{matcher.operator}{quoted(matcher.value)}"
    return (
        f"no {matcher.name} {never}; known are {', '.join(known)}; "
        f"for a label of your own write {own}"
    )


@attrs.frozen
class Matcher:
    """One condition on an alert.

    Attributes:
        name: what is compared: a field, a label, ``labels.NAME`` or ``details.NAME``.
        operator: ``=``, ``!=``, ``=~`` or ``!~``.
        value: what it is compared with: a text, or a regular expression for the whole of it.
        regex: the expression, compiled; None where texts are compared.
        accepted: the severities or statuses that the value names; empty for other names.

    Raises:
        ValueError: no name or nearly a field's, an expression that RE2 does not understand, or a
            severity or status that no alert has.
    """

    name: str = attrs.field(validator=_check_name)
    operator: Operator
    value: str
    regex: Regex | None = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_compiled, takes_self=True)
    )
    accepted: frozenset[str] = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_accepted, takes_self=True)
    )

    def __str__(self) -> str:
        name = self.name if is_bare(self.name) else quoted(self.name)
        return f"{name}{self.operator}{quoted(self.value)}"

    def value_of(self, alert: Alert) -> str:
        """Return what of `alert` is compared; empty if the alert does not have it."""
        if self.name in _FIELDS:
            return _as_text(getattr(alert, _FIELDS[self.name]))
        if self.name.startswith("details."):
            return _as_text(alert.details.get(self.name.removeprefix("details.")))
        return alert.labels.get(self.name.removeprefix("labels."), "")

    def matches(self, alert: Alert) -> bool:
        """Check whether the condition holds for `alert`."""
        value = self.value_of(alert)
        if self.accepted:
            same = value in self.accepted
        elif self.regex:
            same = self.regex.matches(value)
        else:
            same = value == self.value
        return same is self.operator.startswith("=")


def parse_matcher(text: str) -> Matcher:
    """Parse one matcher, with or without braces around it.

    Raises:
        ValueError: `text` is not one matcher; the reason says what would be right.
    """
    matcher, *others = parse_matchers(text)
    if others:
        reason = f"expected one matcher, found {1 + len(others)}"
        raise ValueError(reason)
    return matcher


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Parse one or more matchers with commas between them, with or without braces around them.

    As in Alertmanager a last comma is allowed. A text without any matcher is not: it would
    match every alert, which is more than anyone means by it.

    Raises:
        ValueError: `text` is something else; the reason says what would be right.
    """
    refusals: list[ValueError] = []
    for conditions in readings(text):
        try:
            return tuple(Matcher(*condition) for condition in conditions)
        except ValueError as error:
            refusals.append(error)
    raise refusals[0]


def _as_text(value: Json | dt.datetime) -> str:
    match value:
        case None:
            return ""
        case str():
            return str(value)
        case dt.datetime():
            return value.isoformat()
    return json.dumps(value, ensure_ascii=False)
