"""Builds settings objects from plain data, and plain data from settings objects."""

from __future__ import annotations

import enum
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, override

from hostspec.errors import Fault, FaultsError, describe_error
from hostspec.normalisation import FrozenDict, Json
from hostspec.secret import REFERENCE_FORMS, LiteralSecretError, Secret, reference_fault
from hostspec.settings import (
    SettingsError,
    did_you_mean,
    info_of,
    join,
    key_of,
    unknown_choice,
    value_faults,
)

T = TypeVar("T")


def structure(kind: type[T], raw: object) -> T:
    """Build a settings object from plain data: of a file, a form or a program.

    Nothing is converted: a number given as text is a fault, and so is an unknown key.

    Raises:
        SettingsError: with every fault.
    """
    try:
        return _converter.structure(raw, kind)
    except Exception as error:  # noqa: BLE001 -- a check of a settings class may raise anything
        raise SettingsError(_faults(error, "")) from None


def by_reference(secret: Secret) -> str:
    """Return the reference of a secret.

    Raises:
        LiteralSecretError: it is a literal secret.
    """
    if secret.reference is None:
        message = f"a literal secret cannot be written to JSON; give a reference: {REFERENCE_FORMS}"
        raise LiteralSecretError(message)
    return secret.reference


def settings_to_json(settings: object, *, write: Callable[[Secret], Any] = by_reference) -> Any:
    """Return settings, or one of their values, as JSON: secrets by reference.

    A host with a safe store passes ``write``, which returns the JSON form of a secret.

    Raises:
        LiteralSecretError: a literal secret has no reference.
    """
    match settings:
        case Secret():
            return write(settings)
        case enum.Enum():
            return settings.value
        case Mapping():
            return {name: settings_to_json(item, write=write) for name, item in settings.items()}
        case list() | tuple():
            return [settings_to_json(item, write=write) for item in settings]
        case object(__attrs_attrs__=fields):
            given = [field for field in fields if field.init]
            members = {key_of(field): getattr(settings, field.name) for field in given}
            return settings_to_json(members, write=write)
    return settings


_converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)


def _expect(value: object, kind: type | tuple[type, ...], what: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        message = f"must be {what}, not {_described(value)}"
        raise ValueError(message)


def _described(value: object) -> str:
    """Describe a value in a message; texts are not quoted, as one may be a secret."""
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"the {'truth value' if isinstance(value, bool) else 'number'} {value}"
        case str():
            return "text"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
    return f"a {type(value).__name__}"


def _primitive(kind: type, what: str) -> None:
    def hook(value: object, asked: type) -> Any:
        if asked is not kind:  # cattrs takes an enum of texts for a text
            return _structure_enum(value, asked)
        _expect(value, kind, what)
        return kind(value)

    _converter.register_structure_hook(kind, hook)


_primitive(bool, "true or false")
_primitive(int, "a whole number")
_primitive(str, "text")


@_converter.register_structure_hook
def _structure_float(value: Any, _: Any) -> float:
    _expect(value, (int, float), "a number")
    if not abs(value) <= sys.float_info.max:
        message = "must be a finite number"
        raise ValueError(message)
    return float(value)


def _structure_enum(value: Any, kind: Any) -> Any:
    if isinstance(value, kind):
        return value
    _expect(value, str, "text")
    known = [member.value for member in kind]
    if value not in known:
        raise ValueError(unknown_choice(value, known))
    return kind(value)


_converter.register_structure_hook(enum.Enum, _structure_enum)


@_converter.register_structure_hook
def _structure_secret(value: Any, _: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):  # not described: a number may be the secret
        message = f"must be text: a secret, or better a reference ({REFERENCE_FORMS})"
        raise ValueError(message)  # noqa: TRY004 -- a fault of the settings, like the others
    if not value.strip():
        message = f"is blank; give a reference ({REFERENCE_FORMS})"
        raise ValueError(message)
    if fault := reference_fault(value.strip()):
        raise ValueError(fault)
    return Secret(value.strip())


@_converter.register_structure_hook_factory(lambda kind: kind is Json)
def _json_hook(_: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    def hook(value: Any, asked: Any) -> Any:
        match value:
            case Mapping():
                table: Any = types.GenericAlias(dict, (str, asked))
                return FrozenDict(converter.structure(value, table))
            case list() | tuple():
                listed: Any = types.GenericAlias(tuple, (asked, ...))
                return tuple(converter.structure(value, listed))
            case float():
                return converter.structure(value, float)
        if not isinstance(value, bool):
            _expect(value, (int, str), "text, a number, true or false, a list or a table")
        return value

    return hook


def _is_tuple(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


@_converter.register_structure_hook_factory(_is_tuple)
def _tuple_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    list_kind: Any = types.GenericAlias(list, typing.get_args(kind)[:1])
    structure_list = converter.get_structure_hook(list_kind)

    def hook(value: Any, _: Any) -> Any:
        _expect(value, (list, tuple), "a list")
        return tuple(structure_list(list(value), list_kind))

    return hook


def _is_one_or_list(kind: Any) -> bool:
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return False
    one, *several = sorted(typing.get_args(kind), key=_is_tuple)
    return several == [types.GenericAlias(tuple, (one, ...))]


@_converter.register_structure_hook_factory(_is_one_or_list)
def _one_or_list_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    one, many = sorted(typing.get_args(kind), key=_is_tuple)

    def hook(value: Any, _: Any) -> Any:
        return converter.structure(value, many if isinstance(value, (list, tuple)) else one)

    return hook


def _is_mapping(kind: Any) -> bool:
    return typing.get_origin(kind) in (Mapping, dict)


@_converter.register_structure_hook_factory(_is_mapping)
def _mapping_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    item = typing.get_args(kind)[1]

    def hook(value: Any, _: Any) -> Any:
        _expect(value, Mapping, "a table")
        structured: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, raw in value.items():
            try:
                _expect(name, str, "a name")
                structured[name] = converter.structure(raw, item)
            except Exception as error:  # noqa: BLE001 -- gathered, not swallowed
                faults.extend(_faults(error, str(name)))
        if faults:
            raise FaultsError(faults)
        return structured

    return hook


@_converter.register_structure_hook_factory(attrs.has)
def _settings_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    attrs.resolve_types(kind)
    overrides: dict[str, Any] = {
        field.name: override(struct_hook=_field_hook(field, converter), rename=key_of(field))
        for field in attrs.fields(kind)
    }
    make: Any = make_dict_structure_fn(kind, converter, **overrides)

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, kind):
            return value
        _expect(value, Mapping, "a table")
        settings = make(value, kind)
        check = getattr(settings, "faults", tuple)
        if faults := tuple(check()):
            raise FaultsError(faults)
        return settings

    return hook


def _field_hook(
    field: attrs.Attribute[Any], converter: cattrs.Converter
) -> Callable[[Any, Any], Any]:
    info = info_of(field)
    kind: Any = field.type

    def hook(raw: Any, _: Any) -> Any:
        value = converter.structure(raw, kind)
        if value is not None and (faults := value_faults(value, info)):
            raise FaultsError(faults)
        return value

    return hook


def _faults(error: BaseException, path: str) -> list[Fault]:
    match error:
        case ClassValidationError():
            noted, bare = error.group_exceptions()
            below = [fault for inner, note in noted for fault in _field_faults(inner, note, path)]
            return below + [fault for inner in bare for fault in _faults(inner, path)]
        case IterableValidationError():
            indexed, bare = error.group_exceptions()
            at = [(inner, f"{path}[{note.index}]") for inner, note in indexed]
            at += [(inner, path) for inner in bare]
            return [fault for inner, place in at for fault in _faults(inner, place)]
        case ForbiddenExtraKeysError():
            known = [key_of(field) for field in attrs.fields(error.cl)]
            return [
                Fault(join(path, name), f"unknown{did_you_mean(name, known)}")
                for name in sorted(map(str, error.extra_fields))
            ]
        case FaultsError():
            return [fault.below(path) if path else fault for fault in error.faults]
        case ValueError():
            return [Fault(path, str(error) or "is wrong")]
    return [Fault(path, f"cannot be checked: its check {describe_error(error)}")]


def _field_faults(error: Exception, note: AttributeValidationNote, path: str) -> list[Fault]:
    key = note.name.removesuffix("_")
    below = join(path, key)
    if isinstance(error, KeyError) and error.args == (key,):
        return [Fault(below, "missing; it is required")]
    return _faults(error, below)
