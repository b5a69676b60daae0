"""Templates of rules: check one when it is loaded, and render it for an alert. Pure.

Jinja2 is an extra, imported only for a text with one of its delimiters. A text without them is
plain: it needs no Jinja2 and stays as it is.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Final

from hostspec import Alert, Json

STEADY_NAMES: Final = frozenset(
    "key scope source component group class labels rule service installation".split()  # noqa: SIM905
)
"""Names whose values are the same from trigger to resolve, which need the same dedup key."""

NAMES: Final = STEADY_NAMES.union(
    ["status", "severity", "summary", "url", "details", "started_at", "updated_at"]
)
"""Names that a template may use."""

_DELIMITER: Final = re.compile(r"\{[{%#]")


class TemplateError(Exception):
    """A template is not valid, or fails for an alert; the reason contains no value."""


def fault(text: str, names: frozenset[str] = NAMES) -> str | None:
    """Return all faults of a template with their lines, or None if it is valid or a plain text."""
    if not _DELIMITER.search(text):
        return None
    try:
        _sandbox().compiled(text, names)
    except TemplateError as error:
        return str(error)
    return None


def evaluate(text: str, values: Mapping[str, Json], most: int) -> Json:
    """Evaluate a template that is one expression, and keep the type of its value.

    Return a number, a boolean, a list or a mapping, whose JSON has at most `most` characters; None
    if the value is text or null, or if the template is more than one expression: use `render` then.

    Raises:
        TemplateError: the template fails, or exceeds a bound.
    """
    if not _DELIMITER.search(text):
        return None
    value: Json = _sandbox().evaluate(text, values, most)
    return value


def render(text: str, values: Mapping[str, Json], most: int) -> str:
    """Render a template, without blanks around the result; a plain text stays as it is.

    The result is cut to `most` characters, without a mark. Pass one more than there is room for to
    notice the cut.

    Raises:
        TemplateError: the template fails, or exceeds a bound.
    """
    if not _DELIMITER.search(text):
        return text[:most]
    rendered: str = _sandbox().render(text, values, most)
    return rendered


def values_of(alert: Alert, *, rule: str, service: str, installation: str) -> Mapping[str, Json]:
    """Return the values of `NAMES` for an alert; its times are ISO 8601 text in UTC, or None."""
    return {
        "key": alert.key,
        "scope": alert.scope,
        "status": str(alert.status),
        "severity": str(alert.severity),
        "summary": alert.summary,
        "source": alert.source,
        "component": alert.component,
        "group": alert.group,
        "class": alert.class_,
        "url": alert.url,
        "labels": alert.labels,
        "details": alert.details,
        "started_at": _iso(alert.started_at),
        "updated_at": _iso(alert.updated_at),
        "rule": rule,
        "service": service,
        "installation": installation,
    }


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _sandbox() -> ModuleType:
    try:
        from pagerduty_plugin import template_sandbox  # noqa: PLC0415 -- Jinja2 is an extra
    except ImportError:
        reason = "a template needs Jinja2: pip install 'pagerduty-plugin[templates]'"
        raise TemplateError(reason) from None
    return template_sandbox
