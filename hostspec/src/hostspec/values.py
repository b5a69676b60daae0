"""The lossless JSON form of the contract's values."""

from __future__ import annotations

import datetime as dt
import enum
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.json import make_converter

from hostspec.alert import Alert, Identity, Image, Link
from hostspec.delivery import Delivery, IncidentRef, Outcome, Receipt
from hostspec.normalisation import Json, Repair, freeze
from hostspec.provider import Installation
from hostspec.secret import Secret
from hostspec.structuring import settings_to_json

T = TypeVar("T")

_converter = make_converter()


def to_json(value: object) -> Any:
    """Return a value of the contract as JSON, to store it or to send it to another process.

    Raises:
        LiteralSecretError: the value contains a literal secret.
    """
    return _converter.unstructure(value)


def members(value: object) -> Any:
    """Return the members of a value of the contract: a ``default`` for `json.JSONEncoder`.

    The encoder then writes the same JSON as of `to_json`, which need not be built before.

    Raises:
        TypeError: the value cannot be written.
    """
    if isinstance(value, dt.datetime):
        return value.isoformat()
    try:
        return {name: getattr(value, field) for name, field in _MEMBERS[type(value)]}
    except KeyError:
        message = f"a {type(value).__name__} cannot be written to JSON"
        raise TypeError(message) from None


_MEMBERS: Final[Mapping[type, Sequence[tuple[str, str]]]] = {
    kind: [(each.name.rstrip("_"), each.name) for each in attrs.fields(kind)]
    for kind in (Alert, Delivery, Identity, Image, IncidentRef, Link, Outcome, Receipt, Repair)
}


def from_json(kind: type[T], stored: object) -> T:
    """Build a value of the contract from the JSON of `to_json`, without loss.

    For an installation, use `hostspec.Provider.installation`, which knows its settings.
    """
    return _converter.structure(stored, kind)


def _thawed(value: Json) -> Any:
    if isinstance(value, Mapping):
        return {name: _thawed(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_thawed(item) for item in value]
    return value


def _is_mapping(kind: Any) -> bool:
    return typing.get_origin(kind) is Mapping


def _is_json(kind: Any) -> bool:
    return kind is Json


def _structure_mapping(value: Any, _: Any) -> Json:
    if not isinstance(value, Mapping):
        message = "must be an object"
        raise TypeError(message)
    return freeze(value)  # not normalised: a message may nest deeper than an alert's details


_converter.register_structure_hook_func(_is_json, lambda value, _: freeze(value))
_converter.register_unstructure_hook_func(_is_json, _thawed)
_converter.register_structure_hook_func(_is_mapping, _structure_mapping)
_converter.register_unstructure_hook_func(_is_mapping, _thawed)
_converter.register_unstructure_hook(enum.StrEnum, str)
_converter.register_unstructure_hook(Secret, settings_to_json)

attrs.resolve_types(Alert)
_ALERT_FIELDS: Final = tuple(
    (each.name, each.name.rstrip("_"), _converter.get_structure_hook(each.type), each.type)
    for each in attrs.fields(Alert)
)


@_converter.register_structure_hook
def _structure_alert(stored: Mapping[str, Any], _: Any) -> Alert:
    return Alert.restore(
        {
            name: structure(stored[json_name], kind)
            for name, json_name, structure, kind in _ALERT_FIELDS
        }
    )


_converter.register_unstructure_hook(
    Alert, make_dict_unstructure_fn(Alert, _converter, class_=override(rename="class"))
)


@_converter.register_unstructure_hook
def _unstructure_installation(installation: Installation) -> dict[str, Any]:  # type: ignore[type-arg]
    return {
        "provider": installation.provider,
        "name": installation.name,
        "settings": settings_to_json(installation.settings),
    }
