"""Converts any Python value to JSON, and reports each change."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import attrs

from hostspec.errors import describe_error
from hostspec.text import clean_text, shorten

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
else:  # a type that holds itself cannot be resolved when it is looked up at run time
    Json = object

DEEPEST: Final = 64
"""The maximum nesting; a note replaces deeper values."""

MOST_VALUES: Final = 200_000
"""The maximum number of values of one tree: lists that share members can multiply."""

MOST_CHARACTERS: Final = 2_000_000
"""The maximum number of characters of one tree: four times PagerDuty's limit for a whole event,
so that the provider truncates by importance before this bound cuts by position."""

LONGEST_TEXT: Final = 512_000
"""The maximum length of one text: PagerDuty's limit for a whole event."""

MOST_REPAIRS: Final = 10
"""The number of repairs of one field that are listed; further ones are counted."""

LONGEST_NAME: Final = 80
"""The maximum length of a name that a repair quotes."""

LONGEST_PATH: Final = 200
"""The maximum length of a repair's path."""

WIDEST_INTEGER: Final = 1024
"""The maximum size of an integer, in bits: a larger one exceeds a double."""

CHARACTERS_REPLACED: Final = "NUL and lone surrogates were replaced"
"""The reason of the repair of such text."""

_ROOM: Final = 32
"""Characters reserved for an ellipsis, and for the number of a duplicate name."""

_ROOT: Final = re.compile(r"[^.\[]*")


class FrozenDict(dict[str, Json]):
    """An immutable mapping, which many plugins can read safely; its values are frozen, too.

    It is a ``dict``, for ``json.dumps`` for example; every method that would change it raises
    ``TypeError``.
    """

    def __init__(self, *given: Mapping[str, Json], **named: Json) -> None:
        super().__init__(*given, **named)
        for name, value in self.items():
            if type(value) not in _FROZEN:
                super().__setitem__(name, freeze(value))

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        message = f"{type(self).__name__} cannot be changed; make a dict of it first"
        raise TypeError(message)

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = __ior__ = _refuse  # pyright: ignore[reportAssignmentType]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Json]]]:
        return FrozenDict, (dict(self),)


@attrs.frozen
class Repair:
    """One change that made an alert readable, or a message acceptable to the provider.

    ``field`` is the dotted path to the change (``details.load``, ``links[1].href``), ``reason``
    the problem and the change, for the operator.
    """

    field: str
    reason: str


class Repairs:
    """Collects repairs: lists the first few of each field, and counts the rest.

    All repairs ``before`` are kept.
    """

    def __init__(self, before: Iterable[Repair] = ()) -> None:
        self._kept = list(before)
        self._counts: Counter[str] = Counter()

    def add(self, field: str, reason: str, *, always: bool = False) -> None:
        """Record a repair; with `always`, also beyond the first few of its field."""
        root = _ROOT.match(field)
        assert root is not None  # noqa: S101 -- it matches any text
        self._counts[root[0]] += not always
        if always or self._counts[root[0]] <= MOST_REPAIRS:
            self._kept.append(Repair(shorten(field, LONGEST_PATH), reason))

    def as_tuple(self) -> tuple[Repair, ...]:
        """Return the repairs in order, and a count of the rest of each field."""
        uncounted = ((field, count - MOST_REPAIRS) for field, count in self._counts.items())
        counted = (
            Repair(field, f"{count:,} further repairs like these")
            for field, count in uncounted
            if count > 0
        )
        return (*self._kept, *counted)


def freeze(value: Json) -> Json:
    """Return JSON deeply frozen: mappings become `FrozenDict`s, lists become tuples."""
    if type(value) in _FROZEN:
        return value
    if isinstance(value, Mapping):
        return FrozenDict(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(freeze, value))
    return value


_FROZEN: Final = frozenset({str, int, float, bool, type(None), FrozenDict})


def normalise(value: object, field: str) -> tuple[Json, tuple[Repair, ...]]:
    """Convert any value to deeply frozen JSON; never raises.

    The repairs are reported under the dotted path ``field``. Normalising the value again changes
    nothing.
    """
    repairs = Repairs()
    return normalise_into(value, field, repairs), repairs.as_tuple()


def normalise_into(value: object, field: str, repairs: Repairs) -> Json:
    """Convert a value as `normalise` does, and add its repairs to ``repairs``."""
    return _Normaliser(field, repairs).visit(value, ())


_Path: TypeAlias = tuple[str | int, ...]


class _Normaliser:
    """One traversal of a value: its repairs, and the containers on the current path."""

    def __init__(self, field: str, repairs: Repairs) -> None:
        self._field = field
        self._repairs = repairs
        self._values = 0
        self._characters = 0
        self._cut = False
        self._inside: set[int] = set()

    def repair(self, path: _Path, reason: str, *, always: bool = False) -> None:
        steps = (f"[{p}]" if isinstance(p, int) else f".{_brief(p)}" for p in path)
        self._repairs.add(self._field + "".join(steps), reason, always=always)

    def visit(self, value: object, path: _Path) -> Json:
        self._values += 1
        try:
            if value is None or value is True or value is False:
                return value
            if isinstance(value, enum.Enum):
                self.repair(path, f"an enum member ({type(value).__name__}) became its value")
                return self.visit(value.value, path)
            if isinstance(value, str):
                return self._text(value, path)
            if isinstance(value, int):
                return self._integer(int.__int__(value), path)
            if isinstance(value, float):
                return self._float(float.__float__(value), path)
            if isinstance(value, (Mapping, Sequence, AbstractSet)) and not isinstance(
                value, (bytes, bytearray, memoryview)
            ):
                return self._container(value, path)
            return self._text(self._as_text(value, path), path)
        except Exception as error:  # noqa: BLE001 -- a value of the caller's may raise anything
            self.repair(path, f"a value that could not be read was cut: it {describe_error(error)}")
            return self._text("(could not be read)", path)

    def _text(self, text: str, path: _Path) -> str:
        cleaned = clean_text(text)
        if cleaned != str.__str__(text):
            self.repair(path, CHARACTERS_REPLACED)
        if len(cleaned) > LONGEST_TEXT:
            self.repair(path, f"{len(cleaned):,} characters; cut to {LONGEST_TEXT:,}")
            cleaned = shorten(cleaned, LONGEST_TEXT - _ROOM)
        self._characters += len(cleaned)
        return cleaned

    def _integer(self, number: int, path: _Path) -> Json:
        if number.bit_length() <= WIDEST_INTEGER:
            return number
        self.repair(path, "an integer too wide for JSON readers became hexadecimal text")
        return self._text(hex(number), path)

    def _float(self, number: float, path: _Path) -> Json:
        if math.isfinite(number):
            return number
        name = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        self.repair(path, f"{name} is no JSON number and became text")
        return self._text(name, path)

    def _container(self, value: Mapping[object, object] | Iterable[object], path: _Path) -> Json:
        if id(value) in self._inside:
            self.repair(path, "a value that contains itself was cut there")
            return self._text("(contains itself)", path)
        if len(path) >= DEEPEST:
            self.repair(path, f"nesting deeper than {DEEPEST} levels was cut")
            return self._text("(nested too deeply)", path)
        self._inside.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, path)
            if isinstance(value, AbstractSet):
                self.repair(path, "a set became a sorted list")
                value = sorted(islice(value, MOST_VALUES), key=_safe_text)
            return self._list(value, path)
        finally:
            self._inside.discard(id(value))

    def _list(self, items: Iterable[object], path: _Path) -> Json:
        result: list[Json] = []
        for index, item in enumerate(items):
            if self._full(path):
                break
            result.append(self.visit(item, (*path, index)))
        return tuple(result)

    def _mapping(self, mapping: Mapping[object, object], path: _Path) -> Json:
        result: dict[str, Json] = {}
        numbers: dict[str, int] = {}
        for key, item in mapping.items():
            if self._full(path):
                break
            if isinstance(key, str):
                name = self._text(key, path)
            else:
                name = self._text(_safe_text(key), path)
                reason = f"the key {_brief(name)!r} ({type(key).__name__}) became text"
                self.repair(path, reason)
            if name in result:
                before = len(name)
                name = free_name(name, result, numbers)
                self._characters += len(name) - before
                self.repair(path, f"a second entry of the same name became {_brief(name)!r}")
            result[name] = self.visit(item, (*path, name))
        return FrozenDict(result)

    def _full(self, path: _Path) -> bool:
        """Check that a bound is reached; report it once."""
        if self._values < MOST_VALUES and self._characters < MOST_CHARACTERS:
            return False
        if not self._cut:
            self._cut = True
            most = (
                f"{MOST_VALUES:,} values"
                if self._values >= MOST_VALUES
                else f"{MOST_CHARACTERS:,} characters"
            )
            self.repair(path, f"what follows the first {most} was cut", always=True)
        return True

    def _as_text(self, value: object, path: _Path) -> str:
        kind = type(value).__name__
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self.repair(path, f"{kind} became base64 text")
                return base64.b64encode(data).decode()
            self.repair(path, f"{kind} became text")
            return text
        self.repair(path, f"a value of type {kind} became text")
        return _safe_text(value)


def _safe_text(value: object) -> str:
    """Return a value's text, in its standard format if it has one; never raises."""
    try:
        match value:
            case dt.datetime() | dt.date() | dt.time():
                return value.isoformat()
            case dt.timedelta():
                return f"{value.total_seconds()} s"
            case Decimal():
                return format(value)
            case str():
                return str.__str__(value)
            case int():
                return hex(value) if value.bit_length() > WIDEST_INTEGER else repr(value)
            case BaseException():
                return f"{type(value).__name__}: {value}"
        return str(value)
    except Exception:  # noqa: BLE001 -- a __str__ of the caller's may raise anything
        return f"({type(value).__name__})"


def free_name(name: str, taken: Mapping[str, object], numbers: dict[str, int]) -> str:
    """Return the name with a number; ``numbers`` remembers the last, as thousands may collide."""
    number = numbers.get(name, 1) + 1
    while f"{name} ({number})" in taken:
        number += 1
    numbers[name] = number
    return f"{name} ({number})"


def _brief(name: str) -> str:
    return shorten(name, LONGEST_NAME)
