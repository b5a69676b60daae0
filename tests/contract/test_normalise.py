"""Any value becomes JSON, and every change is reported."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import itertools
import json
import math
import pickle
import re
import sys
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostspec import Repair, Secret
from hostspec.normalisation import (
    DEEPEST,
    LONGEST_NAME,
    MOST_REPAIRS,
    MOST_VALUES,
    FrozenDict,
    free_name,
    freeze,
    normalise,
)
from hostspec.text import clean_text


class Colour(enum.Enum):
    RED = "red"
    NOTHING = math.nan


class Level(enum.StrEnum):
    HIGH = "high"


class Number(enum.IntEnum):
    SEVEN = 7


class Shy:
    """Its text cannot be read."""

    def __str__(self) -> str:
        message = "no"
        raise RuntimeError(message)


class Wordless:
    """Its ``str`` returns another type."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 -- that is the point


class Faceless:
    """Its class cannot be read."""

    @property
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError


class SpitefulText(str):
    """A text with overridden methods."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError

    def isascii(self) -> bool:
        raise RuntimeError

    def __ne__(self, other: object) -> bool:
        raise RuntimeError

    __eq__ = __ne__
    __hash__ = str.__hash__


class SpitefulInteger(int):
    def __int__(self) -> int:
        raise RuntimeError


class SpitefulFloat(float):
    def __float__(self) -> float:
        raise RuntimeError


class BrokenMapping(dict[str, int]):
    def items(self) -> NoReturn:  # type: ignore[override]
        message = "items"
        raise KeyError(message)


class BrokenSequence(list[int]):
    def __iter__(self) -> NoReturn:
        message = "iter"
        raise OSError(message)


class EndlessSequence(Sequence[int]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        return index


class EndlessMapping(Mapping[int, int]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: int) -> int:
        return key

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


class EverDeeper(Sequence[object]):
    """Each entry is a new sequence of this class, so that no identity repeats."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        if index:
            raise IndexError
        return EverDeeper()


def reported(value: object) -> tuple[object, list[tuple[str, str]]]:
    result, repairs = normalise(value, "it")
    return result, [(repair.field, repair.reason) for repair in repairs]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -7,
        2**1024 - 1,
        1.5,
        -0.0,
        "",
        "text",
        "Grüße 😀",
        (),
        FrozenDict(),
        (1, (2, FrozenDict(a=3))),
    ],
)
def test_json_is_unchanged(value: object) -> None:
    result, repairs = normalise(value, "it")
    assert (result, type(result), repairs) == (value, type(value), ())


@pytest.mark.parametrize(
    ("value", "expected", "reason"),
    [
        (math.nan, "NaN", "NaN is no JSON number and became text"),
        (math.inf, "Infinity", "Infinity is no JSON number and became text"),
        (-math.inf, "-Infinity", "-Infinity is no JSON number and became text"),
        (2**1024, hex(2**1024), "an integer too wide for JSON readers became hexadecimal text"),
        (
            -(10**5000),
            hex(-(10**5000)),
            "an integer too wide for JSON readers became hexadecimal text",
        ),
        (b"text", "text", "bytes became text"),
        (bytearray(b"\xc3\xa4"), "ä", "bytearray became text"),
        (b"\xff\x00", "/wA=", "bytes became base64 text"),
        (memoryview(b"abcdef")[::2], "ace", "memoryview became text"),
        (Decimal("1.10"), "1.10", "a value of type Decimal became text"),
        (Decimal("1e999999"), "1E+999999", "a value of type Decimal became text"),
        (Decimal("NaN"), "NaN", "a value of type Decimal became text"),
        (
            dt.datetime(2026, 11, 23, 3, 14, tzinfo=dt.UTC),
            "2026-11-23T03:14:00+00:00",
            "a value of type datetime became text",
        ),
        (dt.date(2026, 11, 23), "2026-11-23", "a value of type date became text"),
        (dt.time(3, 14), "03:14:00", "a value of type time became text"),
        (dt.timedelta(minutes=1.5), "90.0 s", "a value of type timedelta became text"),
        (ValueError("bad"), "ValueError: bad", "a value of type ValueError became text"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1)), "a value of type UUID became text"),
        (PurePosixPath("/a"), "/a", "a value of type PurePosixPath became text"),
        (Fraction(1, 3), "1/3", "a value of type Fraction became text"),
        (1 + 2j, "(1+2j)", "a value of type complex became text"),
        (Shy(), "(Shy)", "a value of type Shy became text"),
        (Wordless(), "(Wordless)", "a value of type Wordless became text"),
        (Colour.RED, "red", "an enum member (Colour) became its value"),
        (Level.HIGH, "high", "an enum member (Level) became its value"),
        (Number.SEVEN, 7, "an enum member (Number) became its value"),
        ("a\ud800b", "a\ufffdb", "NUL and lone surrogates were replaced"),
        ("a\0b", "a\ufffdb", "NUL and lone surrogates were replaced"),
        ("\ud83d\ude00", "😀", "NUL and lone surrogates were replaced"),
        (Secret("hunter2"), "Secret('********')", "a value of type Secret became text"),
        (
            Faceless(),
            "(could not be read)",
            "a value that could not be read was cut: it failed at tests/contract/",
        ),
        (
            BrokenMapping(a=1),
            "(could not be read)",
            "a value that could not be read was cut: it failed at tests/contract/",
        ),
        (
            BrokenSequence([1]),
            "(could not be read)",
            "a value that could not be read was cut: it failed at tests/contract/",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_converted_and_reported(
    value: object, expected: object, reason: str
) -> None:
    result, repairs = reported(value)
    assert (result, type(result)) == (expected, type(expected))
    assert [(field, re.sub(r"test_.*", "", said)) for field, said in repairs] == [("it", reason)]


def test_value_of_an_enum_member_is_converted() -> None:
    assert reported(Colour.NOTHING) == (
        "NaN",
        [
            ("it", "an enum member (Colour) became its value"),
            ("it", "NaN is no JSON number and became text"),
        ],
    )


@pytest.mark.parametrize(
    ("value", "plain"),
    [(SpitefulText("ä"), "ä"), (SpitefulInteger(3), 3), (SpitefulFloat(0.5), 0.5)],
)
def test_subclasses_become_plain_values(value: object, plain: object) -> None:
    result, repairs = reported(value)
    assert type(result) is type(plain)
    assert result == plain
    assert repairs == []


def test_unreadable_value_costs_no_other() -> None:
    released = memoryview(b"x")
    released.release()
    result, repairs = reported({"bad": released, "good": [1, Faceless(), 2]})
    assert result == {"bad": "(could not be read)", "good": (1, "(could not be read)", 2)}
    assert [field for field, _ in repairs] == ["it.bad", "it.good[1]"]


def test_generator_is_not_consumed() -> None:
    generator = (number for number in (1, 2))
    result, repairs = reported(generator)
    assert str(result).startswith("<generator object")
    assert repairs == [("it", "a value of type generator became text")]
    assert list(generator) == [1, 2]


def test_containers_become_mappings_and_tuples() -> None:
    value = {
        "list": [1],
        "deque": deque([1]),
        "range": range(2),
        "proxy": MappingProxyType({"a": [1]}),
    }
    result, repairs = reported(value)
    assert result == {"list": (1,), "deque": (1,), "range": (0, 1), "proxy": {"a": (1,)}}
    assert isinstance(result, FrozenDict)
    assert isinstance(result["proxy"], FrozenDict)
    assert repairs == []


def test_set_becomes_a_sorted_list() -> None:
    mixed = {"b", 1, None, 10**5000, b"a", SpitefulText("c"), frozenset({2})}
    result, repairs = reported(mixed)
    assert isinstance(result, tuple)
    assert result[:2] == (hex(10**5000), 1)
    assert set(result[2:]) == {None, "a", "b", "c", (2,)}
    assert repairs[0] == ("it", "a set became a sorted list")
    assert reported(set("edcba"))[0] == tuple("abcde")


def test_keys_become_text() -> None:
    value = {1: "a", "1": "b", 2: "c", None: "d", (1, 2): "e", Colour.RED: "f", 1.0 + 0.5: 5}
    result, repairs = reported(value)
    assert result == {
        "1": "a",
        "1 (2)": "b",
        "2": "c",
        "None": "d",
        "(1, 2)": "e",
        "Colour.RED": "f",
        "1.5": 5,
    }
    assert ("it", "the key '1' (int) became text") in repairs
    assert ("it", "a second entry of the same name became '1 (2)'") in repairs


def test_key_of_a_text_subclass_needs_no_repair() -> None:
    assert reported({SpitefulText("a"): 1, Level.HIGH: 2}) == ({"a": 1, "high": 2}, [])


def test_equal_keys_are_numbered() -> None:
    value = {Shy(): 1, Shy(): 2, "(Shy) (2)": 3, "\ud800": 4, chr(0xD801): 5, 10**5000: 6}
    result, _ = reported(value)
    assert result == {
        "(Shy)": 1,
        "(Shy) (2)": 2,
        "(Shy) (2) (2)": 3,
        "\ufffd": 4,
        "\ufffd (2)": 5,
        hex(10**5000): 6,
    }


def test_taken_numbers_are_skipped() -> None:
    assert reported({"1 (2)": "a", "1": "b", 1: "c"})[0] == {"1 (2)": "a", "1": "b", "1 (3)": "c"}


def test_thousands_of_equal_keys_take_linear_time() -> None:
    """A JSON text may have thousands of keys that differ only in lone surrogates."""
    lookups = 0

    class Counted(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            nonlocal lookups
            lookups += 1
            return super().__contains__(key)

    taken = Counted(x=0)
    numbers: dict[str, int] = {}
    for _number in range(2000):
        taken[free_name("x", taken, numbers)] = 0
    assert len(taken) == 2001
    assert lookups == 2000


def test_cycle_is_cut() -> None:
    loop: list[object] = [1]
    loop.append({"again": loop})
    assert reported(loop) == (
        (1, {"again": "(contains itself)"}),
        [("it[1].again", "a value that contains itself was cut there")],
    )


def test_repeated_value_is_not_a_cycle() -> None:
    shared = [1]
    assert reported([shared, shared]) == (((1,), (1,)), [])


@pytest.mark.parametrize("levels", [DEEPEST + 1, 5000])
def test_deeper_nesting_is_cut(levels: int) -> None:
    value: object = "bottom"
    for _ in range(levels):
        value = [value]
    result, repairs = reported(value)
    for _ in range(DEEPEST):
        assert isinstance(result, tuple)
        (result,) = result
    assert result == "(nested too deeply)"
    assert repairs == [("it" + "[0]" * DEEPEST, "nesting deeper than 64 levels was cut")]


def test_allowed_nesting_is_kept() -> None:
    value: object = "bottom"
    for _ in range(DEEPEST):
        value = {"a": value}
    assert reported(value) == (value, [])


@pytest.fixture
def few_values(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the number of values that are kept, so that tests stay quick."""
    assert MOST_VALUES > 100_000
    module = sys.modules["hostspec.normalisation"]
    monkeypatch.setattr(module, "MOST_VALUES", 2_000)
    return 2_000


@pytest.mark.parametrize("value", [EndlessSequence(), range(10**12), EndlessMapping()])
def test_endless_container_is_cut(value: object, few_values: int) -> None:
    result, repairs = normalise(value, "it")
    assert isinstance(result, (tuple, FrozenDict))
    assert len(result) == few_values - 1
    assert Repair("it", "what follows the first 2,000 values was cut") in repairs
    assert normalise(result, "it") == (result, ())


def test_endless_set_is_cut(few_values: int) -> None:
    result, repairs = normalise(EndlessMapping().keys(), "it")
    assert isinstance(result, tuple)
    assert len(result) == few_values - 1
    assert [repair.reason for repair in repairs] == [
        "a set became a sorted list",
        "what follows the first 2,000 values was cut",
    ]


def test_allowed_number_of_values_is_kept(few_values: int) -> None:
    exact = (0,) * (few_values - 1)
    assert normalise(exact, "it") == (exact, ())
    cut, repairs = normalise((*exact, 0), "it")
    assert cut == exact
    assert len(repairs) == 1


def test_containers_of_endless_depth_are_cut() -> None:
    result, repairs = reported(EverDeeper())
    assert json.dumps(result).count("[") == DEEPEST
    assert repairs == [("it" + "[0]" * DEEPEST, "nesting deeper than 64 levels was cut")]


def test_shared_references_are_bounded(few_values: int) -> None:
    """Forty levels of a pair that holds the same pair twice would be a tree of 2**40 values."""
    value: object = "leaf"
    for _ in range(40):
        value = [value, value]
    result, repairs = normalise(value, "it")
    assert [repair.reason for repair in repairs] == ["what follows the first 2,000 values was cut"]
    assert _count(result) == few_values
    assert normalise(result, "it") == (result, ())


def _count(value: object) -> int:
    if isinstance(value, tuple):
        return 1 + sum(map(_count, value))
    return 1


def test_first_repairs_are_listed_and_the_rest_counted() -> None:
    result, repairs = normalise([math.nan] * (MOST_REPAIRS + 5), "it")
    assert result == ("NaN",) * (MOST_REPAIRS + 5)
    assert len(repairs) == MOST_REPAIRS + 1
    assert repairs[-1] == Repair("it", "5 further repairs like these")


def test_long_name_is_quoted_in_part() -> None:
    _, repairs = normalise({"n" * 1000: math.nan, 10**200: 1}, "it")
    assert repairs[0].field == f"it.{'n' * LONGEST_NAME}…"
    assert len(repairs[1].reason) < 2 * LONGEST_NAME


def test_keyboard_interrupt_is_raised() -> None:
    class Interrupting:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        normalise([Interrupting()], "it")


_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**1020, max_value=2**1030)
    | st.floats()
    | st.text(st.characters())  # lone surrogates among them
    | st.binary()
    | st.decimals()
    | st.fractions()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.complex_numbers()
    | st.uuids()
    | st.sampled_from([*Colour, *Level, *Number])
    | st.builds(lambda sign: sign * 10**5000, st.sampled_from([1, -1]))
    | st.builds(Shy)
    | st.builds(Wordless)
    | st.builds(Faceless)
    | st.builds(SpitefulText, st.text())
    | st.builds(SpitefulInteger, st.integers())
    | st.builds(SpitefulFloat, st.floats())
    | st.builds(object)
    | st.builds(EverDeeper)
    | st.builds(BrokenMapping)
    | st.builds(BrokenSequence)
)
_keys = (
    st.text(st.characters(), max_size=3)
    | st.integers()
    | st.booleans()
    | st.none()
    | st.floats()
    | st.dates()
    | st.binary(max_size=2)
    | st.builds(Shy)
    | st.tuples(st.integers())
    | st.sampled_from([*Colour, *Level])
)
_anything = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_keys, inner, max_size=4)
        | st.frozensets(_keys, max_size=4)
        | st.sets(_keys, max_size=4)
        | inner.map(lambda item: [item, item])
    ),
    max_leaves=12,
)


def _plain(value: object) -> bool:
    """Check that a value consists of the types that `normalise` returns."""
    if type(value) is FrozenDict:
        return all(type(name) is str and _plain(item) for name, item in value.items())
    if type(value) is tuple:
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str)


@given(_anything)
def test_any_value_becomes_stable_json(value: object) -> None:
    result, repairs = normalise(value, "it")
    assert _plain(result)
    text = json.dumps(result, allow_nan=False, ensure_ascii=False)
    text.encode()
    assert json.loads(text) == json.loads(json.dumps(result, allow_nan=False))
    assert normalise(result, "it") == (result, ())
    hash(result)
    for repair in repairs:
        assert repair.field.startswith("it")
        f"{repair.field}{repair.reason}".encode()


@given(st.text(st.characters()))
def test_clean_text_is_valid_utf8(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert clean_text(cleaned) == cleaned
    assert "\0" not in cleaned
    if not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in text):
        assert cleaned == text


_changes: dict[str, Any] = {
    "set": lambda it: it.__setitem__("a", 2),
    "delete": lambda it: it.__delitem__("a"),
    "update": lambda it: it.update(a=2),
    "clear": lambda it: it.clear(),
    "pop": lambda it: it.pop("a"),
    "popitem": lambda it: it.popitem(),
    "setdefault": lambda it: it.setdefault("b", 2),
    "or": lambda it: it.__ior__({"b": 2}),
}


@pytest.mark.parametrize("change", _changes.values(), ids=_changes)
def test_frozen_dict_is_immutable(change: Any) -> None:
    frozen = FrozenDict(a=1)
    with pytest.raises(TypeError, match="FrozenDict cannot be changed; make a dict of it first"):
        change(frozen)
    assert frozen == {"a": 1}


def test_frozen_dict_is_a_dict() -> None:
    frozen = FrozenDict(a=1)
    assert json.dumps(frozen) == '{"a": 1}'
    assert frozen | {"b": 2} == {"a": 1, "b": 2}
    assert {**frozen} == {"a": 1}


def test_frozen_dict_is_hashable() -> None:
    one, other = FrozenDict(a=1, b=(2,)), FrozenDict(b=(2,), a=1)
    assert {one: "x"}[other] == "x"
    assert hash(one) == hash(other)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_frozen_dict_survives_pickling(protocol: int) -> None:
    frozen, _ = normalise({"a": [{"b": 1}]}, "")
    back = pickle.loads(pickle.dumps(frozen, protocol))
    assert back == frozen
    assert _plain(back)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_frozen_dict_survives_copying(copied: Any) -> None:
    frozen, _ = normalise({"a": [{"b": 1}]}, "")
    assert copied(frozen) == frozen
    assert _plain(copied(frozen))


def test_freeze_is_deep() -> None:
    frozen = freeze({"a": [1, {"b": [2, (3,)]}]})
    assert frozen == {"a": (1, {"b": (2, (3,))})}
    assert _plain(frozen)
