"""Settings as a command line gives them: a file, single settings, services with their secrets."""

from __future__ import annotations

import contextlib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import attrs

from alerthost.config.document import ConfigurationError, refuse
from hostspec.errors import Fault
from hostspec.secret import REFERENCE_FORMS, Secret
from hostspec.settings import key_of
from hostspec.text import unknown_name


def read(
    kind: type,
    file: BinaryIO | None = None,
    settings: Iterable[str] = (),
    services: Iterable[str] = (),
) -> tuple[dict[str, Any], list[Fault]]:
    """Put together what a command line says of settings, as a file would hold it.

    Args:
        kind: the settings class.
        file: TOML or JSON; the others are put upon what it says.
        settings: ``NAME=VALUE``; of a list, an entry; of a table, ``TABLE.NAME=VALUE``.
        services: ``NAME=REFERENCE``; an entry of the list of tables that have a name and a
            secret.

    Returns:
        the settings, and what could not be understood.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    raw = _document(file) if file else {}
    faults: list[Fault] = []
    fields = _fields(kind)
    for text in settings:
        with _gathering(faults):
            _set(raw, fields, text)
    for text in services:
        with _gathering(faults):
            _add_service(raw, fields, text)
    return raw, faults


def reference(option: str, text: str) -> str:
    """Take a secret from a command line: by reference only.

    Raises:
        ConfigurationError: it is the secret itself.
    """
    if Secret(text).reference is None:
        reason = (
            "takes no secret as itself, for the list of processes shows it; give a reference: "
            f"{REFERENCE_FORMS}"
        )
        refuse(option, reason)
    return text


def secret_of(kind: type) -> str | None:
    """Find the one setting of a class that is a secret and required; None where it has none."""
    attrs.resolve_types(kind)
    found = [
        key_of(field)
        for field in attrs.fields(kind)
        if Secret in (field.type, *typing.get_args(field.type)) and field.default is attrs.NOTHING
    ]
    return found[0] if len(found) == 1 else None


@contextlib.contextmanager
def _gathering(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        faults += error.faults


def _document(file: BinaryIO) -> dict[str, Any]:
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse("--settings", "is not UTF-8 text")
    try:
        is_json = text.lstrip().startswith("{")
        document = json.loads(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # what is there is not quoted, for it may hold secrets
        place = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        refuse("--settings", f"is neither TOML nor JSON{place}")
    return dict(document)


def _set(raw: dict[str, Any], fields: Mapping[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        refuse("--set", "takes NAME=VALUE")  # not quoted: it may be a secret
    *tables, last = name.split(".")
    place = ""
    for table in tables:
        fields, raw, place = _table(raw, fields, table, place)
    option = f"--set {name}"
    if last not in fields:
        refuse(f"--set {place}".strip(), unknown_name(last, fields))
    declared = fields[last]
    kind = _item(declared)
    if attrs.has(kind) and not _is_list(declared):
        refuse(option, f"is a table; set its members, as {name}.{next(iter(_fields(kind)))}=VALUE")
    if attrs.has(kind) or typing.get_origin(kind):
        refuse(option, "is a table, or a list of them; give it with --settings")
    read_value = reference(option, value) if kind is Secret else _read(kind, value)
    raw[last] = [*raw.get(last, ()), read_value] if _is_list(declared) else read_value


def _table(
    raw: dict[str, Any], fields: Mapping[str, Any], name: str, place: str
) -> tuple[Mapping[str, Any], dict[str, Any], str]:
    """Return a table's fields, its settings so far and its dotted name."""
    if name not in fields:
        refuse(f"--set {place}".strip(), unknown_name(name, fields))
    place = f"{place}.{name}" if place else name
    kind = fields[name]
    below = raw.setdefault(name, {})
    if not attrs.has(kind) or not isinstance(below, dict):
        refuse(f"--set {place}", "is no table of settings, so that nothing in it can be set")
    return _fields(kind), below, place


def _fields(kind: Any) -> dict[str, Any]:
    """Return the types of a settings class's fields, by their keys."""
    attrs.resolve_types(kind)
    return {key_of(field): field.type for field in attrs.fields(kind)}


def _add_service(raw: dict[str, Any], fields: Mapping[str, Any], text: str) -> None:
    lists = {
        name: _item(kind)
        for name, kind in fields.items()
        if _is_list(kind) and attrs.has(_item(kind)) and secret_of(_item(kind))
    }
    if len(lists) != 1:
        known = ", ".join(fields)
        refuse("--service", f"has no place here; known settings are {known}")
    name, equals, value = text.partition("=")
    if not equals or not name:
        refuse("--service", f"takes NAME=REFERENCE; references are {REFERENCE_FORMS}")
    ((key, kind),) = lists.items()
    secret = secret_of(kind)
    entry = {"name": name, str(secret): reference(f"--service {name}", value)}
    raw[key] = [*raw.get(key, ()), entry]


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _item(kind: Any) -> Any:
    """Return the type of one value, or of one entry where there may be several."""
    if _is_list(kind):
        return _item(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(_item(each) for each in typing.get_args(kind) if each is not types.NoneType)
    return kind


def _read(kind: Any, text: str) -> Any:
    """Read a text as JSON where text is not what is wanted; as it is where that fails."""
    if kind in (bool, int, float):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text
