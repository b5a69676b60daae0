"""Templates: why one does not work, and what one says of an alert. Pure.

Jinja2 is an extra, and imported where a text is a template. A text without any of Jinja2's
delimiters is plain: it needs no Jinja2, and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hostspec import Json
from pagerduty_plugin.template_names import NAMES, STEADY_NAMES, TemplateError, names_of

__all__ = ["NAMES", "STEADY_NAMES", "TemplateError", "evaluate", "fault", "names_of", "render"]

MISSING: Final = "it is a template, which needs: pip install 'pagerduty-plugin[templates]'"
"""Why no template works where Jinja2 is not installed."""

_DELIMITER: Final = re.compile(r"\{[{%#]")


def fault(text: str, names: frozenset[str] = NAMES) -> str | None:
    """Say why a text is no template that works; None where it is one, or is plain.

    All faults are told at once, each with its line where the text has several.

    Args:
        text: a template, or a plain text.
        names: what it may say of an alert, some of `NAMES`.
    """
    if not _DELIMITER.search(text):
        return None
    try:
        from pagerduty_plugin import template_sandbox  # noqa: PLC0415 -- Jinja2 is an extra
    except ImportError:
        return MISSING
    return template_sandbox.fault(text, names)


def evaluate(text: str, values: Mapping[str, Json], most: int) -> Json:
    """Evaluate a template that consists of one expression, and keep the type of its value.

    Args:
        text: a template, or a plain text.
        values: what `names_of` gave.
        most: characters of the value as JSON.

    Returns:
        a number, a truth value, a list or a mapping; None where the value is a text or null, or
        the text is no such template: `render` it.

    Raises:
        TemplateError: the expression fails, or its value is not within the bounds.
    """
    if not _DELIMITER.search(text):
        return None
    try:
        from pagerduty_plugin import template_sandbox  # noqa: PLC0415 -- Jinja2 is an extra
    except ImportError:
        raise TemplateError(MISSING) from None
    return template_sandbox.evaluate(text, values, most)


def render(text: str, values: Mapping[str, Json], most: int) -> str:
    """Say of an alert what a template says.

    Args:
        text: a template, or a plain text, which stays as it is.
        values: what `names_of` gave.
        most: characters of the result, which is cut there and not marked; a caller who wants
            to know of the cut asks for one more than there is room for.

    Returns:
        the text; that of a template without blanks around it.

    Raises:
        TemplateError: no text can be made, or not within the bounds.
    """
    if not _DELIMITER.search(text):
        return text[:most]
    try:
        from pagerduty_plugin import template_sandbox  # noqa: PLC0415 -- Jinja2 is an extra
    except ImportError:
        raise TemplateError(MISSING) from None
    return template_sandbox.render(text, values, most)
