"""Settings from a command line: a file, single settings, services with their secrets."""

from __future__ import annotations

import contextlib
import json
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import attrs

from alerthost.config.document import ConfigurationError, refuse
from hostspec.errors import Fault
from hostspec.secret import REFERENCE_FORMS, Secret
from hostspec.settings import join, key_of
from hostspec.text import unknown_name


def read(
    kind: type,
    file: BinaryIO | None = None,
    settings: Iterable[str] = (),
    services: Iterable[str] = (),
) -> tuple[dict[str, Any], list[Fault]]:
    """Merge the settings of a command line into raw settings; return the faults of arguments too.

    Args:
        kind: the settings class.
        file: TOML or JSON; the other arguments are added to it.
        settings: ``NAME=VALUE``; of a list, an entry; of a table, ``TABLE.NAME=VALUE``.
        services: ``NAME=REFERENCE``; entries of the list of tables with a name and a secret.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    raw = _document(file) if file else {}
    faults: list[Fault] = []
    fields = _fields(kind)
    for add, texts in ((_set, settings), (_add_service, services)):
        for text in texts:
            try:
                add(raw, fields, text)
            except ConfigurationError as error:
                faults += error.faults
    return raw, faults


def reference(option: str, text: str) -> str:
    """Return a reference to a secret.

    Raises:
        ConfigurationError: the text is the secret itself.
    """
    if Secret(text).reference is None:
        reason = "do not put a secret on the command line: the process list shows it; "
        refuse(option, f"{reason}use a reference: {REFERENCE_FORMS}")
    return text


def secret_of(kind: type) -> str | None:
    """Return the only required secret of a settings class; None if there is not exactly one."""
    attrs.resolve_types(kind)
    found = [
        key_of(field)
        for field in attrs.fields(kind)
        if Secret in (field.type, *typing.get_args(field.type)) and field.default is attrs.NOTHING
    ]
    return found[0] if len(found) == 1 else None


def _document(file: BinaryIO) -> dict[str, Any]:
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse("--settings", "is not UTF-8 text")
    try:
        is_json = text.lstrip().startswith("{")
        document = json.loads(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # the text is not quoted: it may contain secrets
        location = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        refuse("--settings", f"is neither valid TOML nor valid JSON{location}")
    return dict(document)


def _set(raw: dict[str, Any], fields: Mapping[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        refuse("--set", "expected NAME=VALUE")  # not quoted: it may be a secret
    *tables, last = name.split(".")
    location = ""
    for table in tables:
        kind = _declared(fields, table, location)
        location = join(location, table)
        below = raw.setdefault(table, {})
        if not attrs.has(kind) or not isinstance(below, dict):
            refuse(f"--set {location}", "is not a table, so it has no keys to set")
        fields, raw = _fields(kind), below
    option = f"--set {name}"
    declared = _declared(fields, last, location)
    kind = item_of(declared)
    if attrs.has(kind) and not is_list(declared):
        refuse(
            option, f"is a table; set its keys, such as {name}.{next(iter(_fields(kind)))}=VALUE"
        )
    if attrs.has(kind) or typing.get_origin(kind):
        refuse(option, "is a table or a list of tables; use --settings")
    if kind is Secret:
        read_value: object = reference(option, value)
    else:
        read_value = parse(value) if kind in (bool, int, float) else value
    raw[last] = [*raw.get(last, ()), read_value] if is_list(declared) else read_value


def _declared(fields: Mapping[str, Any], name: str, location: str) -> Any:
    """Return the type of a field of the table at a location."""
    if name not in fields:
        refuse(f"--set {location}".strip(), unknown_name(name, fields))
    return fields[name]


def _fields(kind: Any) -> dict[str, Any]:
    """Return the types of a settings class's fields, by their keys."""
    attrs.resolve_types(kind)
    return {key_of(field): field.type for field in attrs.fields(kind)}


def _add_service(raw: dict[str, Any], fields: Mapping[str, Any], text: str) -> None:
    lists = {
        name: item_of(kind)
        for name, kind in fields.items()
        if is_list(kind) and attrs.has(item_of(kind)) and secret_of(item_of(kind))
    }
    if len(lists) != 1:
        known = ", ".join(fields)
        refuse("--service", f"is not supported by this provider; its settings are {known}")
    name, equals, value = text.partition("=")
    if not equals or not name:
        refuse("--service", f"expected NAME=REFERENCE; references are {REFERENCE_FORMS}")
    ((key, kind),) = lists.items()
    secret = secret_of(kind)
    entry = {"name": name, str(secret): reference(f"--service {name}", value)}
    raw[key] = [*raw.get(key, ()), entry]


def is_list(kind: Any) -> bool:
    """Check whether a type is that of a list."""
    return typing.get_origin(kind) is tuple


def item_of(kind: Any) -> Any:
    """Return the type of a value, or of an entry of a list."""
    if is_list(kind):
        return item_of(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(item_of(each) for each in typing.get_args(kind) if each is not types.NoneType)
    return kind


def parse(text: str) -> Any:
    """Parse a boolean or a number as JSON; return any other text, for the fault that it causes."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return text
