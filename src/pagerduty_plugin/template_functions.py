"""What a template may use: filters, tests, methods and ``range``, with bounds on their work. Pure.

They take any JSON: an absent value and null count as empty.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jinja2 import filters as jinja_filters
from jinja2 import pass_context
from jinja2 import tests as jinja_tests
from jinja2.runtime import Context, Undefined

from pagerduty_plugin.templates import TemplateError

Function = Callable[..., Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LONGEST_TEXT: Final = 1_000_000
"""Characters of a text that ``join`` or ``replace`` makes."""

LONGEST_RANGE: Final = 100_000
"""Numbers of a ``range``."""

MOST_ITEMS: Final = 100_000
"""Items that the loops and filters of one rendering go through; see `CountingContext`."""

_OF_TEXT: Final = _words(
    "capitalize indent lower replace string title trim truncate upper urlencode wordwrap "
    ".capitalize .endswith .lower .replace .split .startswith .strip .title .upper"
)
_OF_MAPPING: Final = _words("dictsort items .get .items .keys .values")
_OF_NULL: Final = _words("d default float int tojson")
_NOT_COUNTED: Final = _words("count d default first last length truncate .get")


class CountingContext(Context):
    """Counts the items of one rendering.

    The lists of an alert may be far longer than the author of the template expects: without a
    limit, nested loops over them would delay all other alerts.
    """

    _count = 0

    def count(self, value: Any, at_once: int = 1) -> None:
        """Count the items of a list or mapping or the characters of a text, so many as one."""
        if isinstance(value, (str, list, tuple, Mapping)):
            self._count += len(value) // at_once
            refuse(self._count, MOST_ITEMS, "goes through more than {:,} items")


def refuse(size: int, most: int, reason: str) -> None:
    """Raise `TemplateError` if a size exceeds its bound."""
    if size > most:
        raise TemplateError(reason.format(most))


def refuse_longer(length: int) -> None:
    """Raise `TemplateError` if a text would be too long."""
    refuse(length, LONGEST_TEXT, "makes a text of more than {:,} characters")


def is_absent(value: Any) -> bool:
    """Check whether a value is missing or null."""
    return value is None or isinstance(value, Undefined)


def shown(value: Any) -> str:
    """Return a value as text: an absent one is empty, and others but texts are JSON."""
    if isinstance(value, str):
        return value
    return "" if is_absent(value) else to_json(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON; a missing one is null."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_to_null)


def _to_null(value: Any) -> None:
    if not isinstance(value, Undefined):
        raise TypeError


# Filters and tests that differ from Jinja2's


def _default(value: Any, default_value: Any = "", boolean: Any = None) -> Any:
    absent = is_absent(value) or value == ""
    return default_value if absent or (boolean and not value) else value


@pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(jinja_filters.make_attrgetter(context.environment, attribute), value)
    texts, between = [shown(item) for item in value], shown(d)
    refuse_longer(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(value: str, old: Any, new: Any, count: int = -1) -> str:
    old, new = shown(old), shown(new)
    times = value.count(old) if count < 0 else min(value.count(old), count)
    refuse_longer(len(value) + times * (len(new) - len(old)))
    return value.replace(old, new, times)


def _of_numbers(function: Function) -> Function:
    """Wrap a function that would format or repeat a text: it rejects texts."""

    @functools.wraps(function)
    def run(value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, (int, float)):
            raise TypeError
        return function(value, *args, **kwargs)

    return run


@pass_context
def container(context: CountingContext, value: Any) -> Any:
    """Return the right side of ``in``, counted."""
    if not isinstance(value, Mapping):
        context.count(value, 10_000 if isinstance(value, str) else 100)
    return () if value is None else value


@pass_context
def _in(context: CountingContext, value: Any, seq: Any) -> bool:
    return value in container(context, seq)


def _range(start: int, /, *limits: int) -> list[int]:
    numbers = range(start, *limits)
    refuse(len(numbers), LONGEST_RANGE, "makes a range of more than {:,} numbers")
    return list(numbers)


_JINJA_FILTERS: Final = """
    abs capitalize count dictsort filesizeformat first float indent int items last length list
    lower map max min reject rejectattr reverse select selectattr sort sum title trim truncate
    unique upper urlencode wordwrap
"""
_JINJA_TESTS: Final = """
    != < <= == > >= boolean defined eq equalto false float ge greaterthan gt integer iterable le
    lessthan lower lt mapping ne none number sequence string true undefined upper
"""
_FILTERS_OF_JINJA: Final[Mapping[str, Any]] = jinja_filters.FILTERS
_TESTS_OF_JINJA: Final[Mapping[str, Any]] = jinja_tests.TESTS
FILTERS: Final[Mapping[str, Function]] = {
    **{name: _FILTERS_OF_JINJA[name] for name in _JINJA_FILTERS.split()},
    "d": _default,
    "default": _default,
    "join": _join,
    "replace": _replace,
    "round": _of_numbers(_FILTERS_OF_JINJA["round"]),
    "string": lambda value: value,
    "tojson": to_json,
}
TESTS: Final[Mapping[str, Function]] = {
    **{name: _TESTS_OF_JINJA[name] for name in _JINJA_TESTS.split()},
    **{name: _of_numbers(_TESTS_OF_JINJA[name]) for name in ("divisibleby", "even", "odd")},
    "in": _in,
}
METHODS: Final[Mapping[str, Function]] = {
    **{name: FILTERS[name] for name in _words("capitalize items lower replace title upper")},
    "endswith": lambda value, suffix: value.endswith(suffix),
    "get": lambda value, name, default=None: value.get(name, default),
    "keys": lambda value: list(value),  # noqa: PLW0108 -- list has no signature
    "split": lambda value, separator=None, most=-1: value.split(separator, most),
    "startswith": lambda value, prefix: value.startswith(prefix),
    "strip": FILTERS["trim"],
    "values": lambda value: list(value.values()),
}
FUNCTIONS: Final[Mapping[str, Function]] = {"range": _range}
KNOWN: Final = {"filter": FILTERS, "test": TESTS, "method": METHODS, "function": FUNCTIONS}


def adapted(name: str, function: Function) -> Function:
    """Wrap a filter: convert its value and count the items; convert an iterator to a list."""
    passed = getattr(function, "jinja_pass_arg", None)

    @pass_context
    @functools.wraps(function)
    def run(context: CountingContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        value = _converted(context, name, value)
        if name not in _NOT_COUNTED:
            context.count(value, 100 if name in _OF_TEXT else 1)
        first = {"eval_context": context.eval_ctx, "environment": context.environment}
        leading = [first.get(passed.name, context)] if passed else []
        made = function(*leading, value, *args, **kwargs)
        if isinstance(made, str):
            context.count(made, 100)
        return list(made) if isinstance(made, Iterator) else made

    return run


def _converted(context: Context, name: str, value: Any) -> Any:
    if name in _OF_TEXT:
        return shown(value)
    if name in _OF_MAPPING:
        return {} if is_absent(value) else value
    if name in _OF_NULL:
        return None if isinstance(value, Undefined) else value
    return context.environment.undefined() if value is None else value
