"""The JSON Schema accepts the same settings as `structure`."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hostspec import Destination, Secret, SettingsError, json_schema, setting, structure


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Service:
    """A place to page.

    More of it.
    """

    name: str = setting("Name", help="Its name.")
    key: Secret = setting("Key")


@attrs.frozen(kw_only=True)
class Settings:
    services: tuple[Service, ...] = setting("Services", least_items=1)
    on: bool = setting("On", default=True)
    count: int = setting("Count", default=2, minimum=1, maximum=5)
    ratio: float | None = setting("Ratio", default=None, minimum=0.5)
    ports: tuple[int, ...] | None = setting("Ports", default=(80,), maximum=65535)
    region: str | None = setting("Region", default=None, choices=("us", "eu"))
    regions: tuple[str, ...] = setting("Regions", default=("us",), choices=("us", "eu"))
    colour: Colour = setting("Colour", default=Colour.RED)
    headers: Mapping[str, Secret] = setting("Headers", default=attrs.Factory(dict))
    teams: dict[str, Service] | None = setting("Teams", default=None, least_items=1)
    token: Secret | None = setting("Token", default=Secret("env:TOKEN"))
    plainly: int = 0


SCHEMA = json_schema(Settings)
VALIDATOR = Draft202012Validator(SCHEMA)


def test_schema_matches_its_dialect() -> None:
    """The schema is checked against the official meta-schema, which it names."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_schema_has_everything_for_a_form() -> None:
    assert SCHEMA["required"] == ["services"]
    assert SCHEMA["additionalProperties"] is False
    properties = SCHEMA["properties"]
    assert properties["services"] == {
        "type": "array",
        "title": "Services",
        "minItems": 1,
        "items": {
            "title": "Service",
            "description": "A place to page.",
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "key"],
            "properties": {
                "name": {"type": "string", "title": "Name", "description": "Its name."},
                "key": {
                    "type": "string",
                    "pattern": r"\S",
                    "format": "password",
                    "writeOnly": True,
                    "title": "Key",
                },
            },
        },
    }
    assert properties["count"] == {
        "type": "integer",
        "title": "Count",
        "minimum": 1,
        "maximum": 5,
        "default": 2,
    }
    assert properties["colour"] == {
        "type": "string",
        "enum": ["red", "blue"],
        "title": "Colour",
        "default": "red",
    }
    assert properties["region"] == {
        "anyOf": [{"type": "string", "enum": ["us", "eu"]}, {"type": "null"}],
        "title": "Region",
        "default": None,
    }
    team, null = properties["teams"]["anyOf"]
    assert (team["type"], team["minProperties"]) == ("object", 1)
    assert team["additionalProperties"] == properties["services"]["items"]
    assert null == {"type": "null"}
    assert properties["plainly"] == {"type": "integer", "title": "plainly", "default": 0}


def test_every_default_is_valid() -> None:
    for name, schema in SCHEMA["properties"].items():
        if "default" in schema:
            VALIDATOR.evolve(schema=schema).validate(schema["default"])
        assert ("default" in schema) == (name != "services")


def test_default_secret_is_written_by_reference() -> None:
    assert SCHEMA["properties"]["token"]["default"] == "env:TOKEN"


def test_class_without_docstring_and_required_settings() -> None:
    bare = attrs.make_class("Bare", {"on": attrs.field(default=True, type=bool)})
    assert json_schema(bare) == {
        "$schema": SCHEMA["$schema"],
        "title": "Bare",
        "type": "object",
        "properties": {"on": {"type": "boolean", "title": "on", "default": True}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("kind", [bytes, list[int], set[str], type])
def test_invalid_type_of_a_setting_is_refused(kind: Any) -> None:
    odd = attrs.make_class("Odd", {"field": attrs.field(type=kind)})
    with pytest.raises(TypeError, match="is not a valid type of a setting"):
        json_schema(odd)


def accepts(raw: object) -> bool:
    try:
        structure(Settings, raw)
    except SettingsError:
        return False
    return True


_texts = st.sampled_from(["", " ", "us", "eu", "red", "env:X", "x"]) | st.text(max_size=3)
_numbers = st.integers(-1, 7) | st.sampled_from([0.4, 0.5, 2.5, 65535, 65536, 10**400])
_scalars = st.none() | st.booleans() | _numbers | _texts
_service = st.fixed_dictionaries(
    {"name": _texts, "key": _texts}, optional={"extra": _scalars}
) | st.fixed_dictionaries({}, optional={"name": _scalars, "key": _scalars})
_raw = st.fixed_dictionaries(
    {"services": st.lists(_service, max_size=2) | _scalars},
    optional={
        "on": _scalars,
        "count": _scalars,
        "ratio": _scalars,
        "ports": st.lists(_scalars, max_size=2) | _scalars,
        "region": _scalars,
        "regions": st.lists(_scalars, max_size=2) | _scalars,
        "colour": _scalars,
        "headers": st.dictionaries(_texts, _scalars, max_size=2) | _scalars,
        "teams": st.dictionaries(_texts, _service, max_size=2) | _scalars,
        "token": _scalars,
        "extra": _scalars,
    },
)
_good = st.fixed_dictionaries(
    {
        "services": st.lists(
            st.fixed_dictionaries({"name": _texts, "key": st.just("env:X")}), min_size=1, max_size=2
        )
    },
    optional={
        "on": st.booleans(),
        "count": st.integers(1, 5),
        "ratio": st.none() | st.floats(0.5, 1e300),
        "ports": st.none() | st.lists(st.integers(max_value=65535), max_size=2),
        "region": st.sampled_from([None, "us", "eu"]),
        "regions": st.lists(st.sampled_from(["us", "eu"]), max_size=2),
        "colour": st.sampled_from(Colour).map(str),
        "headers": st.dictionaries(_texts, st.just("env:X"), max_size=2),
        "token": st.sampled_from([None, "env:X"]),
    },
)


_one = (
    _scalars
    | st.lists(_scalars, max_size=2)
    | st.lists(_service, max_size=2)
    | st.dictionaries(_texts, _scalars | _service, max_size=2)
)


def differs(raw: Any) -> bool:
    """Check that a document has one of the two values on which they differ.

    * ``10**400``: JSON Schema's numbers have no end, but ``float`` has.
    * blanks: a pattern is ECMA's, and what Python strips is not quite what ``\\s`` matches.
    """
    if isinstance(raw, dict):
        return any(map(differs, raw.values()))
    if isinstance(raw, list):
        return any(map(differs, raw))
    return raw == 10**400 or (isinstance(raw, str) and not raw.strip() and raw not in ("", " "))


@given(_good)
def test_schema_and_structure_accept_valid_settings(raw: dict[str, object]) -> None:
    VALIDATOR.validate(raw)
    assert accepts(raw)


@given(_raw.filter(lambda raw: not differs(raw)))
def test_schema_and_structure_agree(raw: dict[str, object]) -> None:
    assert VALIDATOR.is_valid(raw) == accepts(raw)


@given(_good, st.data())
def test_schema_and_structure_agree_on_each_wrong_value(
    raw: dict[str, object], data: st.DataObject
) -> None:
    """Only one field at a time has an arbitrary value."""
    name = data.draw(st.sampled_from(sorted(SCHEMA["properties"])))
    value = data.draw(_one)
    mixed = raw | {name: value}
    if not differs(mixed):
        assert VALIDATOR.is_valid(mixed) == accepts(mixed)


def test_only_the_schema_accepts_whole_fractions() -> None:
    """For JSON Schema, 2.0 is an integer; in a settings file it is a mistake."""
    raw = {"services": [{"name": "a", "key": "env:X"}], "count": 2.0}
    VALIDATOR.validate(raw)
    assert not accepts(raw)


def test_destinations_become_choices() -> None:
    @attrs.frozen
    class Choosing:
        several: tuple[str, ...] = setting("Several", least_items=1, destinations=True)
        one: str = setting("One", default="", destinations=True)
        other: str = setting("Other", default="")

    at_hand = json_schema(Choosing, [Destination("1", "Checkout"), Destination("2", "Data")])
    properties = at_hand["properties"]

    choices = [{"const": "1", "title": "Checkout"}, {"const": "2", "title": "Data"}]
    assert properties["several"]["items"] == {"type": "string", "oneOf": choices}
    assert properties["one"]["oneOf"] == choices
    assert "oneOf" not in properties["other"]
    assert not Draft202012Validator(at_hand).is_valid({"several": ["3"]})
    assert Draft202012Validator(json_schema(Choosing)).is_valid({"several": ["3"]})
    assert not Draft202012Validator(json_schema(Choosing, ())).is_valid({"several": ["3"]})
