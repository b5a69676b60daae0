"""Settings: one attrs class declares them; what a person gave becomes an object of it.

A settings class is a frozen, keyword-only attrs class whose fields are made by `setting`.
Their types may be ``bool``, ``int``, ``float``, ``str``, an enum of texts, `Secret`, another
settings class, ``tuple[T, ...]``, ``Mapping[str, T]``, ``T | tuple[T, ...]`` (one, or a list of
them), ``T | None``, and `Json` for any value but null. A class may check several of its fields
together in a method ``faults(self) -> Iterable[Fault]``.
"""

from __future__ import annotations

import difflib
import enum
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from hostspec.crashes import describe_error
from hostspec.faults import Fault, FaultsError
from hostspec.normalisation import FrozenDict, Json
from hostspec.secret import REFERENCE_FORMS, LiteralSecretError, Secret, reference_fault

T = TypeVar("T")

_METADATA: Final = "hostspec.settings"

_LONGEST_WORD: Final = 20
"""Characters of a wrong choice that are quoted: keys and tokens have more."""


class SettingsError(FaultsError):
    """Settings that are refused; ``faults`` holds path and reason of every fault."""


@attrs.frozen
class SettingInfo:
    """What a setting's declaration says beside its type and default.

    Attributes:
        label: what a form calls it.
        help: a sentence that says what it does.
        choices: the values it may have, or those of a list's entries; empty for any.
        minimum: the least number, or None; of a list's entries too.
        maximum: the greatest number, or None; of a list's entries too.
        least_items: how many entries a list or table needs at least.
        check: gives the reason why a value is wrong, or None; of a table, why an entry is. It
            may raise `FaultsError` to name places within the value.
        destinations: a text, or texts, that name destinations of the installation at hand: these
            are the choices then (`hostspec.json_schema`).
    """

    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    least_items: int = 0
    check: Callable[[Any], str | None] | None = None
    destinations: bool = False


def setting(  # noqa: PLR0913 -- one argument for each thing a declaration can say
    label: str,
    *,
    help: str = "",  # noqa: A002 -- the word that forms and command lines use
    default: Any = attrs.NOTHING,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    least_items: int = 0,
    check: Callable[[Any], str | None] | None = None,
    destinations: bool = False,
) -> Any:
    """Declare a field of a settings class; without a default it is required.

    The arguments are those of `SettingInfo`.
    """
    info = SettingInfo(
        label, help, tuple(choices), minimum, maximum, least_items, check, destinations
    )
    return attrs.field(default=default, metadata={_METADATA: info})


def key_of(field: attrs.Attribute[Any]) -> str:
    """Return a field's key in files and JSON: ``class_`` is ``class``, which Python reserves."""
    return field.name.removesuffix("_")


def describe(field: attrs.Attribute[Any]) -> SettingInfo:
    """Return what a field's declaration says; its name is the label where it says nothing."""
    info = field.metadata.get(_METADATA)
    return info if isinstance(info, SettingInfo) else SettingInfo(key_of(field))


def structure(kind: type[T], raw: object) -> T:
    """Make a settings object of what a file, a form or a program gave.

    Nothing is guessed: a number given as text is a fault, and so is an unknown key.

    Raises:
        SettingsError: with every fault.
    """
    try:
        return _converter.structure(raw, kind)
    except Exception as error:  # noqa: BLE001 -- a check of a settings class may raise anything
        raise SettingsError(_faults(error, "")) from None


def by_reference(secret: Secret) -> str:
    """Write a secret down: its reference.

    Raises:
        LiteralSecretError: it was given as itself.
    """
    if secret.reference is None:
        message = (
            f"a secret given as itself is not written down; give a reference: {REFERENCE_FORMS}"
        )
        raise LiteralSecretError(message)
    return secret.reference


def to_json(settings: object, *, write: Callable[[Secret], Any] = by_reference) -> Any:
    """Return settings as JSON: secrets by reference.

    Args:
        settings: an object of a settings class, or one of its values.
        write: gives what stands in a secret's place, for a host that keeps secrets safely.

    Raises:
        LiteralSecretError: a secret was given as itself, and is to be written by reference.
    """
    return _written(_converter.unstructure(settings), write)


def _written(json: Any, write: Callable[[Secret], Any]) -> Any:
    match json:
        case Secret():
            return write(json)
        case dict():
            return {name: _written(item, write) for name, item in json.items()}
        case list() | tuple():
            return [_written(item, write) for item in json]
    return json


def secrets(settings: object, path: str = "") -> Iterator[tuple[str, Secret]]:
    """Find every secret in a settings object, with its path."""
    match settings:
        case Secret():
            yield path, settings
        case Mapping():
            for name, item in settings.items():
                yield from secrets(item, f"{path}.{name}" if path else str(name))
        case tuple():
            for index, item in enumerate(settings):
                yield from secrets(item, f"{path}[{index}]")
        case object(__attrs_attrs__=fields):
            for field in fields:
                below = _join(path, key_of(field))
                yield from secrets(getattr(settings, field.name), below)


_converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)


def _expect(value: object, kind: type | tuple[type, ...], what: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        message = f"must be {what}, not {_told(value)}"
        raise ValueError(message)


def _told(value: object) -> str:
    """Name a value for a message; texts are not quoted, for one might be a secret."""
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
        raise ValueError(_unknown(value, known))
    return kind(value)


_converter.register_structure_hook(enum.Enum, _structure_enum)


@_converter.register_structure_hook
def _structure_secret(value: Any, _: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):  # what it is goes unsaid: a number may be the secret
        message = f"must be text: a secret, or better a reference ({REFERENCE_FORMS})"
        raise ValueError(message)  # noqa: TRY004 -- a fault of the settings, like the others
    if not value.strip():
        message = f"is blank; give a reference ({REFERENCE_FORMS})"
        raise ValueError(message)
    if fault := reference_fault(value.strip()):
        raise ValueError(fault)
    return Secret(value.strip())


@_converter.register_unstructure_hook
def _unstructure_secret(secret: Secret) -> Secret:
    return secret  # `to_json` writes it


def _is_json(kind: Any) -> bool:
    return kind is Json


@_converter.register_structure_hook_factory(_is_json)
def _json_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    del kind

    def hook(value: Any, asked: Any) -> Json:
        match value:
            case Mapping():
                table: Any = types.GenericAlias(dict, (str, asked))
                return FrozenDict(converter.structure(value, table))
            case list() | tuple():
                listed: Any = types.GenericAlias(tuple, (asked, ...))
                return tuple(converter.structure(value, listed))
            case float():
                return converter.structure(value, float)
        what = "text, a number, true or false, a list or a table"
        if not isinstance(value, (bool, int, str)):
            message = f"must be {what}, not {_told(value)}"
            raise ValueError(message)  # noqa: TRY004 -- a fault of the settings, like the others
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
        check = getattr(settings, "faults", None)
        faults = tuple(check()) if check else ()
        if faults:
            raise FaultsError(faults)
        return settings

    return hook


@_converter.register_unstructure_hook_factory(attrs.has)
def _settings_writer(kind: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    renames: dict[str, Any] = {
        field.name: override(rename=key_of(field)) for field in attrs.fields(kind)
    }
    return make_dict_unstructure_fn(kind, converter, **renames)


def _field_hook(
    field: attrs.Attribute[Any], converter: cattrs.Converter
) -> Callable[[Any, Any], Any]:
    info = describe(field)
    kind: Any = field.type

    def hook(raw: Any, _: Any) -> Any:
        value = converter.structure(raw, kind)
        faults = [] if value is None else _wrong(value, info)
        if faults:
            raise FaultsError(faults)
        return value

    return hook


def _wrong(value: Any, info: SettingInfo) -> list[Fault]:
    """Find what is wrong with a value of the right type."""
    entries = [("", value)]
    if isinstance(value, tuple):
        entries = [(f"[{index}]", item) for index, item in enumerate(value)]
    reasons = [(path, _unfit(item, info)) for path, item in entries]
    if isinstance(value, (tuple, Mapping)) and len(value) < info.least_items:
        reasons.append(("", f"has {len(value)} entries; needs at least {info.least_items}"))
    faults = [Fault(path, reason) for path, reason in reasons if reason]
    if info.check and not faults:
        checked = value if isinstance(value, Mapping) else {"": value}
        for name, each in checked.items():
            found = _checked(info.check, each)
            faults += [fault.below(name) if name else fault for fault in found]
    return faults


def _checked(check: Callable[[Any], str | None], value: Any) -> Sequence[Fault]:
    try:
        reason = check(value)
    except FaultsError as error:
        return error.faults
    return [Fault("", reason)] if reason else []


def _unfit(value: Any, info: SettingInfo) -> str | None:
    if info.choices and value not in info.choices:
        return _unknown(value, info.choices)
    if info.minimum is not None and value < info.minimum:
        return f"{value} is too small; the least is {info.minimum}"
    if info.maximum is not None and value > info.maximum:
        return f"{value} is too large; the most is {info.maximum}"
    return None


def _unknown(word: str, known: Sequence[str]) -> str:
    # a long text may be a secret in the wrong place
    told = repr(word) if len(word) <= _LONGEST_WORD else "this"
    return f"{told} is unknown{_meant(word, known)}; known are {_listed(known)}"


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(choices)


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _faults(error: BaseException, path: str) -> list[Fault]:
    """Find every fault in what cattrs raised."""
    match error:
        case ClassValidationError():
            noted, bare = error.group_exceptions()
            below = [fault for inner, note in noted for fault in _field_faults(inner, note, path)]
            return below + [fault for inner in bare for fault in _faults(inner, path)]
        case IterableValidationError():
            indexed, bare = error.group_exceptions()
            below = [
                fault
                for inner, note in indexed
                for fault in _faults(inner, f"{path}[{note.index}]")
            ]
            return below + [fault for inner in bare for fault in _faults(inner, path)]
        case ForbiddenExtraKeysError():
            known = [key_of(field) for field in attrs.fields(error.cl)]
            return [
                Fault(
                    _join(path, name), f"unknown{_meant(name, known)}; known are {_listed(known)}"
                )
                for name in sorted(map(str, error.extra_fields))
            ]
        case FaultsError():
            return [fault.below(path) if path else fault for fault in error.faults]
        case ValueError():
            return [Fault(path, str(error) or "is wrong")]
    return [Fault(path, f"cannot be checked: its check {describe_error(error)}")]


def _field_faults(error: Exception, note: AttributeValidationNote, path: str) -> list[Fault]:
    key = note.name.removesuffix("_")
    below = _join(path, key)
    if isinstance(error, KeyError) and error.args == (key,):
        return [Fault(below, "missing; it is required")]
    return _faults(error, below)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
