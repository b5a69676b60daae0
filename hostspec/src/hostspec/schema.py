"""The JSON Schema (2020-12) of a settings class."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from hostspec.normalisation import Json
from hostspec.secret import Secret
from hostspec.settings import SettingInfo, info_of, key_of
from hostspec.structuring import settings_to_json

if TYPE_CHECKING:
    from hostspec.provider import Destination

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""The meta-schema of every schema."""


class DeclarationError(TypeError):
    """A class is not a valid settings class; the message gives the reason."""


def json_schema(kind: type, destinations: Sequence[Destination] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a settings class.

    The destinations of the installation become the choices of the settings that name
    destinations: each by its id, titled with its name. None for any.

    Raises:
        TypeError: the class is not a valid settings class.
    """
    schema = _object_schema(kind)
    if destinations is not None:
        choices = [{"const": each.id, "title": each.name} for each in destinations]
        for field in attrs.fields(kind):
            if info_of(field).destinations:
                named = schema["properties"][key_of(field)]
                named.get("items", named)["oneOf"] = choices
    return {"$schema": SCHEMA_DIALECT, **schema}


def _object_schema(kind: Any) -> dict[str, Any]:
    if not (isinstance(kind, type) and attrs.has(kind)):
        named = kind.__name__ if isinstance(kind, type) else f"a {type(kind).__name__}"
        message = f"{named} is not an attrs class"
        raise DeclarationError(message)
    try:
        attrs.resolve_types(kind)
    except NameError as error:
        message = f"{kind.__name__} has a type that is not defined: {error.name!r}"
        raise DeclarationError(message) from None
    fields = attrs.fields(kind)
    schema: dict[str, Any] = {
        "title": kind.__name__,
        "type": "object",
        "properties": {key_of(field): _field_schema(field) for field in fields},
        "additionalProperties": False,
    }
    required = [key_of(field) for field in fields if field.default is attrs.NOTHING]
    if required:
        schema["required"] = required
    if kind.__doc__:
        schema["description"] = kind.__doc__.strip().splitlines()[0]
    return schema


def _field_schema(field: attrs.Attribute[Any]) -> dict[str, Any]:
    info = info_of(field)
    schema = _type_schema(field.type)
    for branch in schema.get("anyOf", [schema]):
        _constrain(branch, info)
    schema["title"] = info.label
    if info.help:
        schema["description"] = info.help
    default: Any = field.default
    if type(default) is attrs.Factory:
        default = default.factory()
    if default is not attrs.NOTHING:
        schema["default"] = settings_to_json(default)
    return schema


_LEAST: Final = {"array": "minItems", "object": "minProperties"}


def _constrain(schema: dict[str, Any], info: SettingInfo) -> None:
    """Add the constraints of a declaration; of a list, most apply to its entries."""
    if schema["type"] == "null":
        return
    if info.least_items and schema["type"] in _LEAST:
        schema[_LEAST[schema["type"]]] = info.least_items
    entry = schema["items"] if schema["type"] == "array" else schema
    if info.choices:
        entry["enum"] = list(info.choices)
    if info.minimum is not None:
        entry["minimum"] = info.minimum
    if info.maximum is not None:
        entry["maximum"] = info.maximum


_TYPE_SCHEMAS: Final[Mapping[Any, Mapping[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Secret: {"type": "string", "pattern": r"\S", "format": "password", "writeOnly": True},
    type(None): {"type": "null"},
    Json: {"type": ["string", "number", "boolean", "array", "object"]},
}


def _type_schema(kind: Any) -> dict[str, Any]:
    if kind in _TYPE_SCHEMAS:
        return dict(_TYPE_SCHEMAS[kind])
    if attrs.has(kind):
        return _object_schema(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"type": "string", "enum": [member.value for member in kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _type_schema(arguments[0])}
    if origin in (Mapping, dict):
        return {"type": "object", "additionalProperties": _type_schema(arguments[1])}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type_schema(argument) for argument in arguments]}
    message = f"{kind!r} is not a valid type of a setting"
    raise DeclarationError(message)
