"""A setting that is one value, or a list of them."""

from __future__ import annotations

import tomllib
from typing import Any

import attrs
import jsonschema
import pytest

from hostspec import Secret, SettingsError, json_schema, setting, structure
from hostspec.settings import secrets
from hostspec.structuring import settings_to_json


@attrs.frozen(kw_only=True)
class Lock:
    key: Secret | tuple[Secret, ...] = setting("Key", least_items=1)
    size: int | tuple[int, ...] = setting("Size", default=1, minimum=1)


@pytest.mark.parametrize(
    ("toml", "held"),
    [
        ('key = "env:A"', Secret("env:A")),
        ('key = ["env:A"]', (Secret("env:A"),)),
        ('key = ["env:B", "env:A"]', (Secret("env:B"), Secret("env:A"))),
    ],
)
def test_toml_accepts_one_key_or_a_list(toml: str, held: object) -> None:
    raw = tomllib.loads(toml)
    lock = structure(Lock, raw)
    assert lock.key == held
    assert structure(Lock, settings_to_json(lock)) == lock
    assert settings_to_json(lock)["key"] == raw["key"]
    jsonschema.Draft202012Validator(json_schema(Lock)).validate(raw)


@pytest.mark.parametrize(
    ("raw", "faults"),
    [
        ({}, ["key: missing; it is required"]),
        ({"key": []}, ["key: has 0 entries; needs at least 1"]),
        ({"key": " "}, ["key: is blank; give a reference"]),
        ({"key": ["env:A", " "]}, ["key[1]: is blank; give a reference"]),
        ({"key": 3}, ["key: must be text: a secret"]),
        ({"key": [["env:A"]]}, ["key[0]: must be text: a secret"]),
        ({"key": "env:A", "size": [2, 0]}, ["size[1]: 0 is too small; the least is 1"]),
        ({"key": "env:A", "size": "2"}, ["size: must be a whole number, not text"]),
    ],
)
def test_other_values_are_rejected_by_settings_and_schema(
    raw: dict[str, Any], faults: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        structure(Lock, raw)
    reported = [str(fault) for fault in caught.value.faults]
    assert len(reported) == len(faults)
    assert all(map(str.startswith, reported, faults))
    assert not jsonschema.Draft202012Validator(json_schema(Lock)).is_valid(raw)


def test_the_schema_has_both_forms() -> None:
    schema = json_schema(Lock)
    jsonschema.Draft202012Validator.check_schema(schema)
    one = {"type": "string", "pattern": r"\S", "format": "password", "writeOnly": True}
    assert schema["properties"]["key"] == {
        "title": "Key",
        "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
    }


def test_every_secret_of_a_list_has_its_path() -> None:
    lock = structure(Lock, {"key": ["env:B", "env:A"]})
    assert list(secrets(lock)) == [("key[0]", Secret("env:B")), ("key[1]", Secret("env:A"))]
