"""The filters, tests and methods of templates, and the bounds of their work. Pure.

Work is counted in steps, for a clock would make what a template says depend on the machine:
one for each item of a list or mapping that is read or made, for each part of a loop each time it
runs, and for each hundred characters. What would make far too long a text is refused before it
is made.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Undefined, pass_context
from jinja2 import filters as jinja_filters
from jinja2.runtime import Context

MOST_STEPS: Final = 100_000
"""Steps that one rendering may take."""

LONGEST_TEXT: Final = 1_000_000
"""Characters of a text that a template may make on its way."""

WIDEST_INTEGER: Final = 1024
"""Bits of a number that a template may make: those of the widest number of an alert."""

LONGEST_NUMBER: Final = 400
"""Characters of a text that is read as a number; the widest number of an alert has fewer."""

_PART: Final = 100
"""Characters that count as one step."""

_SLOW: Final = 10
"""How much longer what goes character by character takes in Python."""

_WIDEST_INDENT: Final = 16
_FINEST_ROUNDING: Final = 15

_JINJA: Final[Mapping[str, Callable[..., Any]]] = jinja_filters.FILTERS


class LimitError(Exception):
    """A template asks for more than it may have."""


class Work(Context):
    """The context of one rendering, which counts its steps."""

    steps: int = MOST_STEPS

    def spend(self, steps: int) -> None:
        """Count steps before they are taken.

        Raises:
            LimitError: there are not so many left.
        """
        self.steps -= steps
        if self.steps < 0:
            message = f"takes more than {MOST_STEPS:,} steps"
            raise LimitError(message)

    def spend_on(self, length: int, factor: int = 1) -> None:
        """Count the steps of a text before it is read or made.

        Raises:
            LimitError: it is too long, or there are not so many steps left.
        """
        _refuse_longer(length)
        self.spend(length * factor // _PART)

    def read(self, value: Any) -> None:
        """Count the steps of a value that is read as a whole.

        Raises:
            LimitError: there are not so many left.
            TypeError: it is no value of JSON's.
        """
        waiting = [value]
        while waiting:
            one = waiting.pop()
            match one:
                case str():
                    self.spend(len(one) // _PART)
                case Mapping():
                    self.spend(2 * len(one))
                    waiting += one.keys()
                    waiting += one.values()
                case list() | tuple():
                    self.spend(len(one))
                    waiting += one
                case int() | float() | None | Undefined():
                    pass
                case _:
                    raise TypeError

    def text(self, value: Any, factor: int = 1) -> str:
        """Give a value as text: nothing for what is absent or null, JSON for what is no text."""
        text = self.shown(value)
        self.spend_on(len(text), factor)
        return text

    def shown(self, value: Any) -> str:
        """Give a value as text, without counting what is a text already."""
        if isinstance(value, str):
            return value
        if value is None or isinstance(value, Undefined):
            return ""
        return self.json(value)

    def json(self, value: Any, indent: int | None = None) -> str:
        """Give a value as JSON; what is absent becomes null."""
        self.read(value)
        encoder = json.JSONEncoder(ensure_ascii=False, indent=indent, default=lambda _: None)
        pieces, length = [], 0
        for piece in encoder.iterencode(value):
            length += len(piece)
            _refuse_longer(length)
            self.spend(1 + len(piece) // _PART)
            pieces.append(piece)
        return "".join(pieces)

    def listed(self, value: Any) -> list[Any]:
        """Give the items of a value: none of what is absent or null, the names of a mapping."""
        match value:
            case None | Undefined():
                return []
            case str() | Mapping() | list() | tuple():
                self.spend(len(value))
                return list(value)
        raise TypeError

    def compared(self, value: Any, attribute: str | int | None) -> list[Any]:
        """Give the items of a value that are compared with each other, by an attribute."""
        items = self.listed(value)
        self.read(items)
        parts = len(re.split("[.,]", attribute)) if isinstance(attribute, str) else 1
        self.spend(len(items) * (parts + len(items).bit_length()))
        return items


_Function = Callable[..., Any]


def within_bounds(function: _Function) -> _Function:
    """Make what Jinja2 calls of a function of some work and a value; its result is bounded."""

    @pass_context
    @functools.wraps(function)
    def run(work: Work, value: Any, *args: Any, **kwargs: Any) -> Any:
        return bounded(function(work, value, *args, **kwargs))

    return run


def bounded(result: Any) -> Any:
    """Give a result that is no longer than a text, and no wider than a number may be.

    Raises:
        LimitError: it is.
    """
    if isinstance(result, str):
        _refuse_longer(len(result))
    if isinstance(result, int):
        _refuse_wider(result.bit_length())
    return result


def _refuse_longer(length: int) -> None:
    if length > LONGEST_TEXT:
        message = f"makes a text of more than {LONGEST_TEXT:,} characters"
        raise LimitError(message)


def _refuse_wider(bits: int) -> None:
    if bits > WIDEST_INTEGER:
        message = f"makes a number of more than {WIDEST_INTEGER:,} bits"
        raise LimitError(message)


def calculate(work: Work, sign: str, left: Any, right: Any) -> Any:
    """Do what an operator does; but for ``+``, operators are for numbers.

    Raises:
        LimitError: the result would be too large.
        TypeError: these values cannot be calculated with.
        ArithmeticError: they have no result.
    """
    match left, right:
        case (int() | float(), int() | float()):
            if sign == "**" and isinstance(left, int) and isinstance(right, int):
                _refuse_wider((left.bit_length() - 1) * right)
            return bounded(_SIGNS[sign](left, right))
        case (str(), str()) if sign == "+":
            work.spend_on(len(left) + len(right))
            return left + right
        case (list() | tuple(), list() | tuple()) if sign == "+":
            return made(work, [*work.listed(left), *work.listed(right)])
    raise TypeError


_SIGNS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


def made(work: Work, value: Any) -> Any:
    """Count a list or mapping that was made: it may hold others several times over."""
    work.read(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return value
    raise TypeError


# Filters. Each takes the work and the value; what follows are its arguments in a template.


def _abs(_work: Work, value: Any) -> Any:
    return abs(_number(value))


def _capitalize(work: Work, value: Any) -> str:
    return work.text(value).capitalize()


def _default(_work: Work, value: Any, default_value: Any = "", boolean: bool = False) -> Any:
    absent = value is None or value == "" or isinstance(value, Undefined)
    return default_value if absent or (boolean and not value) else value


def _dictsort(
    work: Work,
    value: Any,
    case_sensitive: bool = False,
    by: str = "key",
    reverse: bool = False,
) -> list[Any]:
    mapping = _mapping(value)
    work.compared(list(mapping.items()), None)
    return list(_JINJA["dictsort"](mapping, case_sensitive, by, reverse))


def _filesizeformat(work: Work, value: Any, binary: bool = False) -> str:
    return str(_JINJA["filesizeformat"](_float(work, value), binary))


def _first(work: Work, value: Any) -> Any:
    return _end(work, value, 0)


def _last(work: Work, value: Any) -> Any:
    return _end(work, value, -1)


def _end(work: Work, value: Any, index: int) -> Any:
    items = value if isinstance(value, (str, list, tuple)) else work.listed(value)
    return items[index] if items else work.environment.undefined(name="item")


def _float(work: Work, value: Any, default: float = 0.0) -> Any:
    return _JINJA["float"](_readable(work, value), default)


def _int(work: Work, value: Any, default: int = 0, base: int = 10) -> Any:
    return _JINJA["int"](_readable(work, value), default, base)


def _readable(work: Work, value: Any) -> Any:
    """Give what can be read as a number; else a text that cannot."""
    if isinstance(value, (int, float)):
        return value
    text = work.shown(value)
    return text if len(text) <= LONGEST_NUMBER else ""


def _indent(
    work: Work,
    value: Any,
    width: int = 4,
    first: bool = False,
    blank: bool = False,
) -> str:
    _within(width, 0, _WIDEST_INDENT)
    text = work.text(value)
    lines = len(text.splitlines())
    work.spend_on(len(text) + (lines + 1) * width)
    return str(_JINJA["indent"](text, width, first, blank))


def _within(number: Any, least: int, most: int) -> int:
    if not isinstance(number, int):
        raise TypeError
    if not least <= number <= most:
        message = f"gives a number that is not between {least} and {most}"
        raise LimitError(message)
    return number


def _items(work: Work, value: Any) -> list[Any]:
    mapping = _mapping(value)
    work.spend(len(mapping))
    return list(mapping.items())


def _mapping(value: Any) -> Mapping[Any, Any]:
    match value:
        case None | Undefined():
            return {}
        case Mapping():
            return value
    raise TypeError


def _join(work: Work, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    items = work.listed(value)
    if attribute is not None:
        items = _map(work, items, attribute=attribute)
    between = work.text(d)
    texts = []
    for item in items:
        texts.append(work.text(item))
        work.spend_on(len(between))
    work.spend_on(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _length(_work: Work, value: Any) -> int:
    return 0 if value is None else len(value)


def _list(work: Work, value: Any) -> list[Any]:
    return work.listed(value)


def _lower(work: Work, value: Any) -> str:
    return work.text(value).lower()


def _map(work: Work, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
    items = work.compared(value, kwargs.get("attribute"))
    return list(made(work, list(_JINJA["map"](work, items, *args, **kwargs))))


def _max(
    work: Work,
    value: Any,
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> Any:
    items = work.compared(value, attribute)
    return _JINJA["max"](work.environment, items, case_sensitive, attribute)


def _min(
    work: Work,
    value: Any,
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> Any:
    items = work.compared(value, attribute)
    return _JINJA["min"](work.environment, items, case_sensitive, attribute)


def _replace(work: Work, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = work.text(value), work.text(old), work.text(new)
    times = text.count(old) if count is None else min(text.count(old), max(count, 0))
    work.spend_on(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, times)


def _reverse(work: Work, value: Any) -> Any:
    return work.text(value)[::-1] if isinstance(value, str) else work.listed(value)[::-1]


def _round(_work: Work, value: Any, precision: int = 0, method: str = "common") -> Any:
    _within(precision, -_FINEST_ROUNDING, _FINEST_ROUNDING)
    return _JINJA["round"](_number(value), precision, method)


def _chosen(name: str) -> _Function:
    def choose(work: Work, value: Any, *args: Any) -> list[Any]:
        return list(_JINJA[name](work, work.compared(value, None), *args))

    return choose


def _chosen_by(name: str) -> _Function:
    def choose(work: Work, value: Any, attribute: str | int, *args: Any) -> list[Any]:
        return list(_JINJA[name](work, work.compared(value, attribute), attribute, *args))

    return choose


def _sort(
    work: Work,
    value: Any,
    reverse: bool = False,
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> list[Any]:
    items = work.compared(value, attribute)
    return list(_JINJA["sort"](work.environment, items, reverse, case_sensitive, attribute))


def _sum(work: Work, value: Any, attribute: str | int | None = None, start: float = 0) -> Any:
    items = work.listed(value)
    if attribute is not None:
        items = _map(work, items, attribute=attribute)
    return sum(map(_number, items), _number(start))


def _text(work: Work, value: Any) -> str:
    return work.text(value)


def _title(work: Work, value: Any) -> str:
    return str(_JINJA["title"](work.text(value, _SLOW)))


def _tojson(work: Work, value: Any, indent: int | None = None) -> str:
    if indent is not None:
        _within(indent, 0, _WIDEST_INDENT)
    return work.json(value, indent)


def _trim(work: Work, value: Any, chars: str | None = None) -> str:
    return work.text(value).strip(chars)


def _truncate(  # noqa: PLR0913, PLR0917 -- as in Jinja2
    work: Work,
    value: Any,
    length: int = 255,
    killwords: bool = False,
    end: str = "...",
    leeway: int | None = None,
) -> str:
    _within(length, 0, LONGEST_TEXT)
    text = work.shown(value)  # what it does not keep costs nothing, however long
    work.spend_on(min(len(text), length))
    end = work.text(end)
    return str(_JINJA["truncate"](work.environment, text, length, killwords, end, leeway))


def _unique(
    work: Work,
    value: Any,
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> list[Any]:
    items = work.compared(value, attribute)
    return list(_JINJA["unique"](work.environment, items, case_sensitive, attribute))


def _upper(work: Work, value: Any) -> str:
    return work.text(value).upper()


def _urlencode(work: Work, value: Any) -> str:
    return quote(work.text(value, _SLOW))


def _wordwrap(work: Work, value: Any, width: int = 79) -> str:
    text = work.text(value, _SLOW)
    work.spend_on(len(text), 1 + len(text) // max(width, 1))  # a long word is cut again and again
    return str(_JINJA["wordwrap"](work.environment, text, width))


FILTERS: Final[Mapping[str, _Function]] = {
    "abs": _abs,
    "capitalize": _capitalize,
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "filesizeformat": _filesizeformat,
    "first": _first,
    "float": _float,
    "indent": _indent,
    "int": _int,
    "items": _items,
    "join": _join,
    "last": _last,
    "length": _length,
    "list": _list,
    "lower": _lower,
    "map": _map,
    "max": _max,
    "min": _min,
    "reject": _chosen("reject"),
    "rejectattr": _chosen_by("rejectattr"),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "select": _chosen("select"),
    "selectattr": _chosen_by("selectattr"),
    "sort": _sort,
    "string": _text,
    "sum": _sum,
    "title": _title,
    "tojson": _tojson,
    "trim": _trim,
    "truncate": _truncate,
    "unique": _unique,
    "upper": _upper,
    "urlencode": _urlencode,
    "wordwrap": _wordwrap,
}
"""What may stand after ``|``."""


# Methods of texts and mappings, where Python's users look for them.


def _endswith(work: Work, value: Any, suffix: str) -> bool:
    return work.text(value).endswith(work.text(suffix))


def _get(_work: Work, value: Any, name: str, default: Any = None) -> Any:
    return _mapping(value).get(name, default)


def _keys(work: Work, value: Any) -> list[Any]:
    return work.listed(_mapping(value))


def _split(work: Work, value: Any, separator: str | None = None, most: int = -1) -> list[str]:
    text = work.text(value)
    work.spend(len(text.split()) if separator is None else text.count(separator))
    return text.split(separator, most)


def _startswith(work: Work, value: Any, prefix: str) -> bool:
    return work.text(value).startswith(work.text(prefix))


def _values(work: Work, value: Any) -> list[Any]:
    mapping = _mapping(value)
    work.spend(len(mapping))
    return list(mapping.values())


METHODS: Final[Mapping[str, _Function]] = {
    "capitalize": _capitalize,
    "endswith": _endswith,
    "get": _get,
    "items": _items,
    "keys": _keys,
    "lower": _lower,
    "replace": _replace,
    "split": _split,
    "startswith": _startswith,
    "strip": _trim,
    "title": _title,
    "upper": _upper,
    "values": _values,
}
"""What may be called after a dot."""


def _range(work: Work, start: int, /, *limits: int) -> list[int]:
    numbers = range(start, *limits)
    work.spend(len(numbers))
    return list(numbers)


FUNCTIONS: Final[Mapping[str, _Function]] = {"range": _range}
"""What may be called by itself."""


# Tests.


def _compare(compare: Callable[[Any, Any], Any]) -> _Function:
    def test(work: Work, value: Any, other: Any) -> bool:
        work.read(value)
        work.read(other)
        return bool(compare(value, other))

    return test


def _is(kinds: type | tuple[type, ...]) -> _Function:
    def test(_work: Work, value: Any) -> bool:
        return isinstance(value, kinds)

    return test


def _whole(value: Any) -> int:
    if isinstance(value, int):
        return value
    raise TypeError


def _divisibleby(_work: Work, value: Any, num: int) -> bool:
    return _whole(value) % _whole(num) == 0


def _even(_work: Work, value: Any) -> bool:
    return _whole(value) % 2 == 0


def _odd(_work: Work, value: Any) -> bool:
    return _whole(value) % 2 == 1


def _defined(_work: Work, value: Any) -> bool:
    return not isinstance(value, Undefined)


def _false(_work: Work, value: Any) -> bool:
    return value is False


def _in(work: Work, value: Any, container: Any) -> bool:
    work.read(value)
    return value in searched(work, container)


def searched(work: Work, container: Any) -> Any:
    """Count what is searched; a mapping is not, it knows where its names are."""
    if container is None:
        return ()
    if not isinstance(container, Mapping):
        work.read(container)
    return container


def _integer(_work: Work, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_lower(work: Work, value: Any) -> bool:
    return work.text(value).islower()


def _is_upper(work: Work, value: Any) -> bool:
    return work.text(value).isupper()


def _none(_work: Work, value: Any) -> bool:
    return value is None


def _true(_work: Work, value: Any) -> bool:
    return value is True


TESTS: Final[Mapping[str, _Function]] = {
    "!=": _compare(operator.ne),
    "<": _compare(operator.lt),
    "<=": _compare(operator.le),
    "==": _compare(operator.eq),
    ">": _compare(operator.gt),
    ">=": _compare(operator.ge),
    "boolean": _is(bool),
    "defined": _defined,
    "divisibleby": _divisibleby,
    "eq": _compare(operator.eq),
    "equalto": _compare(operator.eq),
    "even": _even,
    "false": _false,
    "float": _is(float),
    "ge": _compare(operator.ge),
    "greaterthan": _compare(operator.gt),
    "gt": _compare(operator.gt),
    "in": _in,
    "integer": _integer,
    "iterable": _is((str, Mapping, list, tuple)),
    "le": _compare(operator.le),
    "lessthan": _compare(operator.lt),
    "lower": _is_lower,
    "lt": _compare(operator.lt),
    "mapping": _is(Mapping),
    "ne": _compare(operator.ne),
    "none": _none,
    "number": _is((int, float)),
    "odd": _odd,
    "sequence": _is((str, list, tuple)),
    "string": _is(str),
    "true": _true,
    "undefined": _is(Undefined),
    "upper": _is_upper,
}
"""What may stand after ``is``, and be named to ``select`` and its like."""
