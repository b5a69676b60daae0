"""Makes JSON of any Python value, and says what it had to change."""

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
"""Levels of nesting that are kept; what lies deeper becomes a note in its place."""

MOST_VALUES: Final = 200_000
"""Values that are kept of one tree: a list that holds itself twice over would have no end."""

MOST_CHARACTERS: Final = 2_000_000
"""Characters that are kept of one tree: four times as many as PagerDuty takes of a whole event, so
that a provider cuts by size, and not the reader by place."""

LONGEST_TEXT: Final = 512_000
"""Characters that are kept of one text: as many as PagerDuty takes of a whole event."""

MOST_REPAIRS: Final = 10
"""Repairs of one field that are listed one by one; the rest is counted."""

LONGEST_NAME: Final = 80
"""Characters of a name that a repair quotes."""

LONGEST_PATH: Final = 200
"""Characters of the path that a repair gives."""

WIDEST_INTEGER: Final = 1024
"""Bits of an integer that stays a number: beyond it no JSON reader's double can hold it."""

UNHELD: Final = "text that not everything can hold (NUL, lone surrogates) was replaced"
"""What a repair says of such text."""

_ROOM: Final = 32
"""Characters kept free where a text is cut, for the ellipsis and for the number of a name."""

_ROOT: Final = re.compile(r"[^.\[]*")


class FrozenDict(dict[str, Json]):
    """A mapping that cannot be changed, so that many plugins may read the same one.

    It is a ``dict`` for those who read it (``json.dumps`` among them); every way to change
    it raises `TypeError`.
    """

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
    """One thing that was changed so that a message could be understood or taken.

    Attributes:
        field: where, as a dotted path (``details.load``, ``links[1].href``).
        reason: what was wrong and what stands there now, for a person to read.
    """

    field: str
    reason: str


class Repairs:
    """Collects repairs: the first few of each field one by one, and the rest counted.

    Args:
        before: repairs of an earlier reading; all are kept.
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

    def told(self) -> tuple[Repair, ...]:
        """Return the repairs in order, and one for the rest of each field."""
        untold = ((field, count - MOST_REPAIRS) for field, count in self._counts.items())
        counted = (
            Repair(field, f"{count:,} further repairs like these")
            for field, count in untold
            if count > 0
        )
        return (*self._kept, *counted)


def freeze(value: Json) -> Json:
    """Make JSON deeply unchangeable: mappings become `FrozenDict`s, lists become tuples."""
    if isinstance(value, Mapping):
        return FrozenDict({name: freeze(item) for name, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value


def normalise(value: object, field: str) -> tuple[Json, tuple[Repair, ...]]:
    """Make a JSON value of ``value``; never raises.

    Args:
        value: anything.
        field: the dotted path under which repairs are reported.

    Returns:
        the JSON value, deeply frozen, and what had to be changed. Normalising what comes
        back changes nothing more.
    """
    repairs = Repairs()
    return normalise_into(value, field, repairs), repairs.told()


def normalise_into(value: object, field: str, repairs: Repairs) -> Json:
    """Make a JSON value of ``value`` as `normalise` does, and add its repairs to `repairs`."""
    return _Normaliser(field, repairs).visit(value, ())


_Path: TypeAlias = tuple[str | int, ...]


class _Normaliser:
    """One walk through one value: its repairs, and the containers it is inside of."""

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
            return self._text(self._told(value, path), path)
        except Exception as error:  # noqa: BLE001 -- a value of somebody's own may do anything
            self.repair(path, f"a value that could not be read was cut: it {describe_error(error)}")
            return self._text("(could not be read)", path)

    def _text(self, text: str, path: _Path) -> str:
        cleaned = clean_text(text)
        if cleaned != str.__str__(text):
            self.repair(path, UNHELD)
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
                value = sorted(islice(value, MOST_VALUES), key=_told_safely)
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
                name = self._text(_told_safely(key), path)
                told = f"the key {_brief(name)!r} ({type(key).__name__}) became text"
                self.repair(path, told)
            if name in result:
                before = len(name)
                name = free_name(name, result, numbers)
                self._characters += len(name) - before
                self.repair(path, f"a second entry of the same name became {_brief(name)!r}")
            result[name] = self.visit(item, (*path, name))
        return FrozenDict(result)

    def _full(self, path: _Path) -> bool:
        """Check whether no more values are kept; reported where the first one is cut."""
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

    def _told(self, value: object, path: _Path) -> str:
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
        return _told_safely(value)


def _told_safely(value: object) -> str:
    """Return a value as text: its standard form where it has one; never raises."""
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
    except Exception:  # noqa: BLE001 -- a __str__ of somebody's own may do anything
        return f"({type(value).__name__})"


def free_name(name: str, taken: Mapping[str, object], numbers: dict[str, int]) -> str:
    """Number a name; `numbers` keeps the last one given, for thousands may be the same."""
    number = numbers.get(name, 1) + 1
    while f"{name} ({number})" in taken:
        number += 1
    numbers[name] = number
    return f"{name} ({number})"


def _brief(name: str) -> str:
    return shorten(name, LONGEST_NAME)
