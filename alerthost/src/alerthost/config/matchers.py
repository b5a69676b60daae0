r"""Matchers: conditions of rules on alerts, in Alertmanager's syntax (`matcher_syntax`).

A matcher is a name, an operator (``=``, ``!=``, ``=~``, ``!~``) and a value. A name is that of an
alert's field in JSON, else of a label. ``labels.NAME`` is always a label, and ``details.NAME`` a
top-level member of the details, as JSON unless it is text. A missing value is the empty text. A
misspelt name of a field is rejected, as the rule would never match.

Severity and status have a fixed set of values, matched in any case, with the synonyms of
`Severity.understand`; in a regular expression a synonym counts if it is written out. Other
values never match, and are rejected. So is ``none``: an alert with it counts as ``info``, and a
rule for ``none`` would match every other alert of that severity too.

Regular expressions are those of RE2 (https://github.com/google/re2/wiki/Syntax), matched in linear
time. They match the whole value.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from alerthost.config.matcher_syntax import Operator, is_bare, quoted, readings
from hostspec.alert import Alert, Severity, Status
from hostspec.normalisation import Json
from hostspec.plugins import Rule
from hostspec.text import closest

_NOT_TEXT: Final = frozenset({"labels", "details", "links", "images", "repairs"})
_FIELDS: Final[Mapping[str, str]] = {
    field.name.rstrip("_"): field.name
    for field in attrs.fields(Alert)
    if field.name not in _NOT_TEXT
}
_TABLES: Final = ("labels", "details")

_NEAR: Final = 0.84
"""Similarity to a field's name, from 0 to 1, at which a name counts as misspelt."""

_NEAR_WITH_VALUE: Final = 0.75
"""The same where the value is one of the field's."""


_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "severity": tuple(Severity),
    "status": tuple(Status),
}

_WORD: Final = re.compile(r"\w+")
_ALTERNATIVES: Final = re.compile(r"\^?(?:\((?:\?:)?)*+([\w|]*+)\)*+\$?")
"""An expression of words only, with or without brackets and anchors."""


MAX_MEMORY: Final = 2 * 1024 * 1024
"""Limit, in bytes, of one compiled expression and of its cache while it matches."""

_REMEDIES: Final = (
    ("invalid perl operator: (?!", "RE2 has no lookahead; use the operator !~ to exclude values"),
    ("invalid perl operator: (?=", "RE2 has no lookahead; use two matchers, both must match"),
    ("invalid perl operator: (?<", "RE2 has no lookbehind; use two matchers, both must match"),
    ("invalid escape sequence: \\Z", "the end of the text is \\z in RE2"),
    ("bad repetition operator: ", "RE2 needs no possessive repetition; use one operator"),
    ("pattern too large", "the expression is too large; use several rules or shorter repetitions"),
)


@attrs.frozen
class Regex:
    """One compiled expression; it matches whole texts.

    Raises:
        ValueError: `pattern` is not valid in RE2; the reason has the remedy if known.
    """

    pattern: str
    ignore_case: bool = False
    _compiled: Any = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        import re2  # noqa: PLC0415 -- 2 MB that most rules need not

        options = re2.Options()
        options.case_sensitive = not self.ignore_case
        options.log_errors = False
        options.max_mem = MAX_MEMORY
        options.never_capture = True
        try:
            compiled = re2.compile(_encoded(self.pattern), options)
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace")
            remedies = (remedy for known, remedy in _REMEDIES if reason.startswith(known))
            raise ValueError(next(remedies, reason)) from None
        object.__setattr__(self, "_compiled", compiled)

    def matches(self, text: str) -> bool:
        """Check whether the whole of `text` matches."""
        return self._compiled.fullmatch(_encoded(text)) is not None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _check_name(matcher: Matcher, _field: attrs.Attribute[str], name: str) -> None:
    if name in _FIELDS:
        return
    table, dot, rest = name.partition(".")
    if not name or (table in _TABLES and dot and not rest):
        reason = f"{name or 'the name'} is empty; use the name of a field or label"
    elif name in _NOT_TEXT:
        reason = f"{name} is not text; for a label use labels.{name}"
    elif meant := _meant(matcher):
        reason = f"no alert has {name}; did you mean {meant}? For a label use labels.{name}"
    else:
        return
    raise ValueError(reason)


def _meant(matcher: Matcher) -> str:
    """Return the field that the matcher's name is a misspelling of; empty for none."""
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
    """Return the severity or status of a word; None if it is not one."""
    word = word.strip().casefold()
    if name == "severity" and word != "none":
        return Severity.understand(word)
    return word if name == "status" and word in _VALUES["status"] else None


def _compiled(matcher: Matcher) -> Regex | None:
    if matcher.operator in {"=", "!="}:
        return None
    try:
        return Regex(matcher.value, ignore_case=matcher.name in _VALUES)
    except ValueError as error:
        reason = f"{quoted(matcher.value)} is not a valid RE2 expression: {error}"
        raise ValueError(reason) from None


def _accepted(matcher: Matcher) -> frozenset[str]:
    """Return the severities or statuses of a value; empty for other names.

    Raises:
        ValueError: one of its words is not a severity or status.
    """
    if matcher.name not in _VALUES:
        return frozenset()
    known, regex, value = _VALUES[matcher.name], matcher.regex, matcher.value
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
    """Return the error for an unknown severity or status, with the remedy."""
    known = _VALUES[matcher.name]
    near = closest(word.casefold(), known, _NEAR)
    if near:
        return f"no {matcher.name} is {quoted(word)}; did you mean {quoted(near)}?"
    never = f"is {quoted(word)}" if word.strip() else "is empty"
    own = f"labels.{matcher.name}{matcher.operator}{quoted(matcher.value)}"
    return f"no {matcher.name} {never}; known are {', '.join(known)}; for a label use {own}"


@attrs.frozen
class Matcher:
    """One condition on an alert.

    Attributes:
        name: a field, a label, ``labels.NAME`` or ``details.NAME``.
        operator: ``=``, ``!=``, ``=~`` or ``!~``.
        value: a text, or a regular expression for the whole value.
        regex: the compiled expression; None for a text.
        accepted: the severities or statuses that the value matches; empty for other names.

    Raises:
        ValueError: the name is empty or misspelt, the expression is not valid, or the value is
            not a severity or status.
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
        """Return the value of `alert` that is compared; empty if it is missing."""
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


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Parse one or more matchers with commas between them, with or without braces around them.

    A trailing comma is allowed, as in Alertmanager. A text without any matcher is not, as it would
    match every alert.

    Raises:
        ValueError: `text` is not valid; the reason has the remedy.
    """
    errors: list[ValueError] = []
    for conditions in readings(text):
        try:
            return tuple(Matcher(*condition) for condition in conditions)
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _as_text(value: Json | dt.datetime) -> str:
    match value:
        case None:
            return ""
        case str():
            return str(value)
        case dt.datetime():
            return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


@attrs.frozen
class Matching:
    """The condition of a rule: all of its matchers must match."""

    matchers: tuple[Matcher, ...]

    def __call__(self, alert: Alert) -> bool:
        """Check whether the alert matches."""
        return all(matcher.matches(alert) for matcher in self.matchers)


def matchers_of(rule: Rule) -> Sequence[Matcher]:
    """Return the matchers of a rule; none if it was not built from a configuration."""
    return rule.matches.matchers if isinstance(rule.matches, Matching) else ()
