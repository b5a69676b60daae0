"""Makes JSON of any Python value, and says what it had to change."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import attrs

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
else:  # a type that holds itself cannot be resolved when it is looked up at run time
    Json = object

DEEPEST: Final = 64
"""Levels of nesting that are kept; what lies deeper becomes a note in its place."""

MOST_VALUES: Final = 200_000
"""Values that are kept of one tree: a list that holds itself twice over would have no end."""

MOST_REPAIRS: Final = 100
"""Repairs that are told one by one; the rest is counted."""

WIDEST_INTEGER: Final = 1024
"""Bits of an integer that stays a number: beyond it no JSON reader's double can hold it."""


class FrozenDict(dict[str, Json]):
    """A mapping that cannot be changed, so that many plugins may read the same one.

    It is a ``dict`` for those who read it (``json.dumps`` among them); every way to change
    it raises `TypeError`.
    """

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        message = f"{type(self).__name__} cannot be changed; make a dict of it first"
        raise TypeError(message)

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = __ior__ = _refuse

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


def clean_text(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates, which no UTF-8 encoder takes."""
    if text.isascii():
        return str(text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def normalise(value: object, field: str) -> tuple[Json, tuple[Repair, ...]]:
    """Make a JSON value of `value`; never raises.

    Args:
        value: anything.
        field: the dotted path under which repairs are reported.

    Returns:
        the JSON value, deeply frozen, and what had to be changed. Normalising what comes
        back changes nothing more.
    """
    normaliser = _Normaliser()
    result = normaliser.visit(value, field, 0)
    return result, normaliser.told(field)


class _Normaliser:
    """One walk through one value: its repairs, and the containers it is inside of."""

    def __init__(self) -> None:
        self._repairs: list[Repair] = []
        self._untold = 0
        self._values = 0
        self._inside: set[int] = set()

    def repair(self, field: str, reason: str) -> None:
        if len(self._repairs) < MOST_REPAIRS:
            self._repairs.append(Repair(field, reason))
        else:
            self._untold += 1

    def told(self, field: str) -> tuple[Repair, ...]:
        if not self._untold:
            return tuple(self._repairs)
        return (*self._repairs, Repair(field, f"{self._untold} further repairs like these"))

    def visit(self, value: object, field: str, depth: int) -> Json:
        self._values += 1
        if self._values > MOST_VALUES:
            self.repair(field, f"what follows the first {MOST_VALUES:,} values was cut")
            return "(cut)"
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            self.repair(field, f"an enum member ({type(value).__name__}) became its value")
            return self.visit(value.value, field, depth)
        if isinstance(value, str):
            return self._text(value, field)
        if isinstance(value, int):
            return self._integer(int(value), field)
        if isinstance(value, float):
            return self._float(float(value), field)
        if isinstance(value, (Mapping, Sequence, AbstractSet)) and not isinstance(
            value, (bytes, bytearray, memoryview)
        ):
            return self._container(value, field, depth)
        return self._text(self._told(value, field), field)

    def _text(self, text: str, field: str) -> str:
        cleaned = clean_text(text)
        if cleaned != text:
            self.repair(field, "text that UTF-8 cannot hold (lone surrogates) was replaced")
        return cleaned

    def _integer(self, number: int, field: str) -> Json:
        if number.bit_length() <= WIDEST_INTEGER:
            return number
        self.repair(field, "an integer too wide for JSON readers became hexadecimal text")
        return hex(number)

    def _float(self, number: float, field: str) -> Json:
        if math.isfinite(number):
            return number
        name = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
        self.repair(field, f"{name} is no JSON number and became text")
        return name

    def _container(self, value: object, field: str, depth: int) -> Json:
        if id(value) in self._inside:
            self.repair(field, "a value that contains itself was cut there")
            return "(contains itself)"
        if depth >= DEEPEST:
            self.repair(field, f"nesting deeper than {DEEPEST} levels was cut")
            return "(nested too deeply)"
        self._inside.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, field, depth)
            if isinstance(value, AbstractSet):
                self.repair(field, "a set became a sorted list")
                items: list[object] = sorted(value, key=_told_safely)
            else:
                items = list(value)  # type: ignore[call-overload]
            return tuple(
                self.visit(item, f"{field}[{index}]", depth + 1) for index, item in enumerate(items)
            )
        except Exception as error:  # noqa: BLE001 -- a container of somebody's own may do anything
            self.repair(field, f"a value that could not be read ({type(error).__name__}) was cut")
            return f"({type(value).__name__})"
        finally:
            self._inside.discard(id(value))

    def _mapping(self, mapping: Mapping[object, object], field: str, depth: int) -> Json:
        result: dict[str, Json] = {}
        for key, item in mapping.items():
            if isinstance(key, str) and type(key) is str:
                name = self._text(key, field)
            else:
                name = clean_text(_told_safely(key))
                self.repair(field, f"the key {name!r} ({type(key).__name__}) became text")
            if name in result:
                name = _free_name(name, result)
                self.repair(field, f"a second entry of the same name became {name!r}")
            result[name] = self.visit(item, f"{field}.{name}", depth + 1)
        return FrozenDict(result)

    def _told(self, value: object, field: str) -> str:
        kind = type(value).__name__
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self.repair(field, f"{kind} became base64 text")
                return base64.b64encode(data).decode()
            self.repair(field, f"{kind} became text")
            return text
        self.repair(field, f"a value of type {kind} became text")
        return _told_safely(value)


def _told_safely(value: object) -> str:
    """Give a value as text: its standard form where it has one; never raises."""
    try:
        match value:
            case dt.datetime() | dt.date() | dt.time():
                return value.isoformat()
            case dt.timedelta():
                return f"{value.total_seconds()} s"
            case Decimal():
                return format(value)
            case str():
                return str(value)
            case int():
                return hex(value) if value.bit_length() > WIDEST_INTEGER else repr(value)
            case BaseException():
                return f"{type(value).__name__}: {value}"
        return str(value)
    except Exception:  # noqa: BLE001 -- a __str__ of somebody's own may do anything
        return f"({type(value).__name__})"


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"
