"""Settings are read strictly, and all faults are reported at once, with their paths."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import pytest

from hostspec import Fault, FaultsError, Secret, SettingsError, json_schema, setting, structure
from hostspec.settings import SettingInfo, info_of, secrets
from hostspec.structuring import settings_to_json


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Plain(enum.Enum):
    ONE = "one"
    TWO = "two"


def _even(value: int) -> str | None:
    return "must be even" if value % 2 else None


def _breaks(value: str) -> str | None:
    kinds: dict[str, BaseException] = {
        "key": KeyError("code"),
        "silent": ValueError(),
        "spoken": ValueError("is not to my taste"),
        "zero": ZeroDivisionError("division by zero"),
    }
    if value in kinds:
        raise kinds[value]
    return None


@attrs.frozen(kw_only=True)
class Service:
    name: str = setting("Name")
    key: Secret = setting("Key")
    priority: int = setting("Priority", default=2, minimum=1, maximum=5, check=_even)


@attrs.frozen(kw_only=True)
class Settings:
    services: tuple[Service, ...] = setting("Services", help="Where to.", least_items=1)
    region: str | None = setting("Region", default=None, choices=("us", "eu"))
    regions: tuple[str, ...] | None = setting("Regions", default=None, choices=("us", "eu"))
    on: bool = setting("On", default=True)
    ratio: float = setting("Ratio", default=0.5, minimum=0, maximum=1)
    ports: tuple[int, ...] = setting("Ports", default=(), minimum=1, maximum=65535)
    colour: Colour = setting("Colour", default=Colour.RED)
    colours: tuple[Colour, ...] = setting("Colours", default=())
    plain: Plain = setting("Plain", default=Plain.ONE)
    headers: Mapping[str, Secret] = setting("Headers", default=attrs.Factory(dict))
    teams: Mapping[str, Service] | None = setting("Teams", default=None, least_items=1)
    nested: Service | None = setting("Nested", default=None)
    matrix: tuple[tuple[int, ...], ...] = setting("Matrix", default=())
    check: str = setting("Check", default="", check=_breaks)
    plainly: int = 0

    def faults(self) -> Iterable[Fault]:
        if self.plainly == 1:
            yield Fault("plainly", "clashes with region")
            yield Fault("", "cannot be")
        if self.plainly == 2:
            name = "plainly"
            raise KeyError(name)


SERVICE: dict[str, object] = {"name": "checkout", "key": "env:KEY"}
GOOD: dict[str, object] = {"services": [SERVICE]}


def read(**raw: object) -> Settings:
    return structure(Settings, GOOD | raw)


def faults(raw: object) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        structure(Settings, raw)
    assert str(raised.value) == "; ".join(map(str, raised.value.faults))
    return [str(fault) for fault in raised.value.faults]


# --- valid settings --------------------------------------------------------------------------


def test_missing_settings_have_their_defaults() -> None:
    assert structure(Settings, GOOD) == Settings(
        services=(Service(name="checkout", key=Secret("env:KEY")),)
    )


FULL: dict[str, object] = {
    "services": [{"name": "a", "key": "env:A", "priority": 4}, {"name": "b", "key": "file:/b"}],
    "region": "eu",
    "regions": ["eu", "us"],
    "on": False,
    "ratio": 1,
    "ports": [80, 443],
    "colour": "blue",
    "colours": ["blue", "red"],
    "plain": "two",
    "headers": {"x": "env:X"},
    "teams": {"data": SERVICE},
    "nested": SERVICE,
    "matrix": [[1, 2], []],
    "check": "fine",
    "plainly": 3,
}


def test_every_type_is_structured() -> None:
    service = Service(name="checkout", key=Secret("env:KEY"))
    read_as = structure(Settings, FULL)
    assert read_as == Settings(
        services=(
            Service(name="a", key=Secret("env:A"), priority=4),
            Service(name="b", key=Secret("file:/b")),
        ),
        region="eu",
        regions=("eu", "us"),
        on=False,
        ratio=1.0,
        ports=(80, 443),
        colour=Colour.BLUE,
        colours=(Colour.BLUE, Colour.RED),
        plain=Plain.TWO,
        headers={"x": Secret("env:X")},
        teams={"data": service},
        nested=service,
        matrix=((1, 2), ()),
        check="fine",
        plainly=3,
    )
    assert type(read_as.ratio) is float
    assert type(read_as.colour) is Colour
    assert [type(colour) for colour in read_as.colours] == [Colour, Colour]


def test_settings_survive_json() -> None:
    settings = structure(Settings, FULL)
    stored = settings_to_json(settings)
    assert json.loads(json.dumps(stored)) == stored, "plain lists, tables and texts"
    assert structure(Settings, stored) == settings


def test_settings_objects_are_accepted() -> None:
    service = Service(name="a", key=Secret("literal"))
    settings = read(services=(service,), colour=Colour.BLUE, plain=Plain.TWO, nested=service)
    assert settings.services == (service,)
    assert (settings.colour, settings.plain) == (Colour.BLUE, Plain.TWO)
    assert structure(Settings, settings) is settings
    assert read(headers={"a": Secret("b")}).headers == {"a": Secret("b")}


def test_blanks_around_a_secret_are_removed() -> None:
    assert read(headers={"x": " env:X\n"}).headers == {"x": Secret("env:X")}


# --- strictness ------------------------------------------------------------------------------

SECRET = (
    "must be text: a secret, or better a reference (env:NAME, file:PATH or keyring:SERVICE/NAME)"
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"on": 1}, "on: must be true or false, not the number 1"),
        ({"on": "true"}, "on: must be true or false, not text"),
        ({"on": None}, "on: must be true or false, not null"),
        ({"plainly": True}, "plainly: must be a whole number, not the truth value True"),
        ({"plainly": 1.0}, "plainly: must be a whole number, not the number 1.0"),
        ({"plainly": "1"}, "plainly: must be a whole number, not text"),
        ({"plainly": []}, "plainly: must be a whole number, not a list"),
        ({"plainly": {}}, "plainly: must be a whole number, not a table"),
        ({"plainly": b""}, "plainly: must be a whole number, not a bytes"),
        ({"ratio": True}, "ratio: must be a number, not the truth value True"),
        ({"ratio": "0.5"}, "ratio: must be a number, not text"),
        ({"ratio": math.nan}, "ratio: must be a finite number"),
        ({"ratio": math.inf}, "ratio: must be a finite number"),
        ({"ratio": 10**400}, "ratio: must be a finite number"),
        ({"ratio": -0.1}, "ratio: -0.1 is too small; the least is 0"),
        ({"ratio": 2}, "ratio: 2.0 is too large; the most is 1"),
        ({"ports": [1, 0, 65536]}, "ports[1]: 0 is too small; the least is 1"),
        ({"ports": [1, 0, 65536]}, "ports[2]: 65536 is too large; the most is 65535"),
        ({"ports": 80}, "ports: must be a list, not the number 80"),
        ({"ports": "80"}, "ports: must be a list, not text"),
        ({"ports": {"a": 1}}, "ports: must be a list, not a table"),
        ({"ports": ["80"]}, "ports[0]: must be a whole number, not text"),
        ({"matrix": [[1], [1, "2"]]}, "matrix[1][1]: must be a whole number, not text"),
        ({"region": 5}, "region: must be text, not the number 5"),
        ({"region": "uss"}, "region: 'uss' is unknown (did you mean 'us'?); known are us, eu"),
        ({"region": "x" * 32}, "region: this is unknown; known are us, eu"),
        ({"regions": ["us", "it"]}, "regions[1]: 'it' is unknown; known are us, eu"),
        ({"colour": "rde"}, "colour: 'rde' is unknown (did you mean 'red'?); known are red, blue"),
        ({"colour": 1}, "colour: must be text, not the number 1"),
        ({"colours": ["red", []]}, "colours[1]: must be text, not a list"),
        ({"plain": "three"}, "plain: 'three' is unknown; known are one, two"),
        ({"plain": "ONE"}, "plain: 'ONE' is unknown; known are one, two"),
        ({"headers": "x"}, "headers: must be a table, not text"),
        ({"headers": {"a": 1}}, f"headers.a: {SECRET}"),
        ({"headers": {"a": None}}, f"headers.a: {SECRET}"),
        ({"headers": {"a": " "}}, "headers.a: is blank; give a reference (env:NAME, "),
        ({"headers": {1: "env:X"}}, "headers.1: must be a name, not the number 1"),
        ({"teams": {}}, "teams: has 0 entries; needs at least 1"),
        ({"teams": {"data": 5}}, "teams.data: must be a table, not the number 5"),
        ({"nested": []}, "nested: must be a table, not a list"),
        ({"nested": SERVICE | {"priority": 3}}, "nested.priority: must be even"),
        ({"nested": SERVICE | {"priority": 7}}, "nested.priority: 7 is too large; the most is 5"),
        ({"services": []}, "services: has 0 entries; needs at least 1"),
        ({"services": [SERVICE, None]}, "services[1]: must be a table, not null"),
        ({"services": [{}]}, "services[0].name: missing; it is required"),
        ({"services": [{}]}, "services[0].key: missing; it is required"),
        (
            {"services": [SERVICE | {"nmae": 1}]},
            "services[0].nmae: unknown (did you mean 'name'?); known are name, key, priority",
        ),
        ({"plainly": 1}, "plainly: clashes with region"),
        ({"plainly": 1}, "cannot be"),
        ({"plainly": 2}, "cannot be checked: its check failed at tests/contract/"),
        ({"check": "key"}, "check: cannot be checked: its check failed at tests/contract/"),
        ({"check": "zero"}, "check: cannot be checked: its check failed at tests/contract/"),
        ({"check": "silent"}, "check: is wrong"),
        ({"check": "spoken"}, "check: is not to my taste"),
        ({5: 1}, "5: unknown; known are services, "),
    ],
    ids=repr,
)
def test_wrong_values_are_reported_by_path(raw: dict[Any, object], expected: str) -> None:
    reported = faults(GOOD | raw)
    assert any(fault.startswith(expected) for fault in reported), reported


@pytest.mark.parametrize("raw", [None, 5, "text", [], [GOOD]])
def test_settings_must_be_a_table(raw: object) -> None:
    (fault,) = faults(raw)
    assert fault.startswith("must be a table, not ")


def test_wrong_field_is_reported_once() -> None:
    assert faults(GOOD | {"region": "it", "plainly": 1}) == [
        "region: 'it' is unknown; known are us, eu"
    ]
    assert len(faults(GOOD | {"plainly": 1})) == 2


def test_checks_see_only_valid_types() -> None:
    assert faults(GOOD | {"nested": SERVICE | {"priority": 7}}) == [
        "nested.priority: 7 is too large; the most is 5"
    ]


def test_all_faults_are_reported_at_once() -> None:
    raw = {
        "services": [{"name": 1, "key": [], "priority": 0, "extra": 1}, 4, {}],
        "region": "it",
        "regions": ["it", "us", "de"],
        "on": "yes",
        "headers": {"a": 1, "b": "env:B", "c": " "},
        "teams": {"data": {"name": 1}},
        "colr": 1,
    }
    reported = faults(raw)
    assert [fault.partition(": ")[0] for fault in reported] == [
        "services[0].name",
        "services[0].key",
        "services[0].priority",
        "services[0].extra",
        "services[1]",
        "services[2].name",
        "services[2].key",
        "region",
        "regions[0]",
        "regions[2]",
        "on",
        "headers.a",
        "headers.c",
        "teams.data.name",
        "teams.data.key",
        "colr",
    ]


def test_missing_and_unknown_settings_are_reported_together() -> None:
    assert faults({"servces": []})[0] == "services: missing; it is required"
    assert faults({"servces": []})[1].startswith("servces: unknown (did you mean 'services'?)")


@attrs.frozen(kw_only=True)
class Validated:
    """A class with validators of attrs."""

    low: int = setting("Low", default=0)
    high: int = attrs.field(default=1)

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            message = "low is above high"
            raise ValueError(message)


def test_attrs_validators_are_reported() -> None:
    assert structure(Validated, {"low": 1}) == Validated(low=1)
    with pytest.raises(SettingsError) as raised:
        structure(Validated, {"low": 2})
    assert raised.value.faults == (Fault("", "low is above high"),)


@attrs.frozen(kw_only=True)
class Inside:
    validated: Validated = setting("Validated")


def test_fault_of_a_nested_class_has_its_path() -> None:
    with pytest.raises(FaultsError) as raised:
        structure(Inside, {"validated": {"low": 2}})
    assert raised.value.faults == (Fault("validated", "low is above high"),)


# --- declarations ----------------------------------------------------------------------------


def test_declaration_keeps_its_arguments() -> None:
    field = attrs.fields(Settings).services
    assert info_of(field) == SettingInfo("Services", "Where to.", least_items=1)


def test_field_without_a_declaration_is_labelled_with_its_name() -> None:
    assert info_of(attrs.fields(Settings).plainly) == SettingInfo("plainly")


def test_every_secret_is_found_with_its_path() -> None:
    settings = structure(Settings, FULL)
    assert [(path, secret.reference) for path, secret in secrets(settings)] == [
        ("services[0].key", "env:A"),
        ("services[1].key", "file:/b"),
        ("headers.x", "env:X"),
        ("teams.data.key", "env:KEY"),
        ("nested.key", "env:KEY"),
    ]
    assert list(secrets({"a": (Secret("b"),)})) == [("a[0]", Secret("b"))]
    assert list(secrets(Secret("b"))) == [("", Secret("b"))]
    assert list(secrets("text")) == []


@attrs.frozen(kw_only=True)
class Reserved:
    class_: str = setting("Class", check=lambda text: "is blank" if not text else None)
    from_: Secret | None = setting("From", default=None)


@attrs.frozen(kw_only=True)
class Outer:
    inner: tuple[Reserved, ...] = setting("Inner", default=())


def test_reserved_word_loses_its_underscore() -> None:
    settings = structure(Outer, {"inner": [{"class": "disk", "from": "env:KEY"}]})

    assert settings.inner[0].class_ == "disk"
    assert settings_to_json(settings) == {"inner": [{"class": "disk", "from": "env:KEY"}]}
    assert [path for path, _ in secrets(settings)] == ["inner[0].from"]
    assert list(json_schema(Reserved)["properties"]) == ["class", "from"]
    assert json_schema(Reserved)["required"] == ["class"]


def test_faults_name_reserved_words_as_in_the_file() -> None:
    with pytest.raises(SettingsError) as refused:
        structure(Outer, {"inner": [{}, {"class": ""}, {"class_": "disk", "class": "disk"}]})

    assert refused.value.faults == (
        Fault("inner[0].class", "missing; it is required"),
        Fault("inner[1].class", "is blank"),
        Fault("inner[2].class_", "unknown (did you mean 'class'?); known are class, from"),
    )
