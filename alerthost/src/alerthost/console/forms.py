"""Forms of settings, made from their declaration. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from alerthost.config.cli_settings import is_list, item_of, parse
from hostspec.errors import Fault
from hostspec.secret import Secret
from hostspec.settings import SettingInfo, info_of, join, key_of

TEXT, NUMBER, FLAG, CHOICE, SECRET, LINES = "text", "number", "flag", "choice", "secret", "lines"


@attrs.frozen
class Field:
    """A field of a form.

    Attributes:
        name: the path of its setting.
        kind: `TEXT`, `NUMBER`, `FLAG`, `CHOICE`, `SECRET` or `LINES`.
        value: as it is edited; empty for a secret, which is never sent to a browser.
        is_required: whether its setting has no default.
        faults: the reasons why its value is wrong.
        titles: of the choices; a choice without one is its own.
        chosen: the choices that are ticked, if there may be several.
        text: that the shown choices contain; None if there are too few of them to filter.
    """

    name: str
    kind: str
    label: str
    help: str
    value: str
    is_required: bool
    choices: tuple[str, ...]
    faults: tuple[str, ...]
    titles: Mapping[str, str] = attrs.field(factory=dict)
    chosen: tuple[str, ...] = ()
    text: str | None = None


def fields_of(
    kind: type, values: Mapping[str, Any], faults: Sequence[Fault] = (), path: str = ""
) -> list[Field]:
    """Return the fields of a settings class.

    Optional tables and mappings are left out. Of a required list of tables, the form has the
    required fields of the first entry.

    Args:
        kind: the settings class.
        values: by the keys of the settings.
        faults: of the values; see `general_faults` for those that belong to no field.
        path: of the settings in a larger form.
    """
    attrs.resolve_types(kind)
    found: list[Field] = []
    for each in attrs.fields(kind):
        key, info = key_of(each), info_of(each)
        name, item = join(path, key), item_of(each.type)
        if attrs.has(item):
            if is_list(each.type) and info.least_items:
                entries = values.get(key) or [{}]
                below = fields_of(item, entries[0], faults, f"{name}[0]")
                found += [field for field in below if field.is_required]
        elif (widget := _widget(each.type, item, info)) is not None:
            found.append(
                Field(
                    name=name,
                    kind=widget,
                    label=info.label,
                    help=info.help,
                    value="" if widget == SECRET else _shown(values.get(key, _default(each))),
                    is_required=each.default is attrs.NOTHING,
                    choices=info.choices or members(item),
                    faults=tuple(
                        fault.reason
                        for fault in faults
                        if fault.path == name or fault.path.startswith(f"{name}[")
                    ),
                )
            )
    return found


def general_faults(fields: Sequence[Field], faults: Sequence[Fault]) -> list[str]:
    """Return the faults that are beside no field."""
    shown = {reason for field in fields for reason in field.faults}
    return [str(fault) for fault in faults if fault.reason not in shown]


def read(kind: type, form: Mapping[str, str], path: str = "") -> dict[str, Any]:
    """Return raw settings from the fields of a form; blank ones are left out."""
    raw: dict[str, Any] = {}
    for field in fields_of(kind, {}, path=path):
        text = form.get(field.name, "")
        _put(raw, field.name.removeprefix(f"{path}.") if path else field.name, field.kind, text)
    return raw


def _put(raw: dict[str, Any], name: str, kind: str, text: str) -> None:
    table, nested, key = name.partition("[0].")
    if nested:
        _put(raw.setdefault(table, [{}])[0], key, kind, text)
    elif kind == FLAG:
        raw[name] = bool(text)
    elif kind == LINES:
        if entries := [line.strip() for line in text.splitlines() if line.strip()]:
            raw[name] = entries
    elif text.strip():
        raw[name] = parse(text) if kind == NUMBER else text.strip()


def _widget(declared: Any, item: Any, info: SettingInfo) -> str | None:
    if item is Secret:
        return SECRET
    if is_list(declared):
        return LINES if item is str else None
    if info.choices or members(item):
        return CHOICE
    return _WIDGETS.get(item)


_WIDGETS: Final[Mapping[Any, str]] = {bool: FLAG, int: NUMBER, float: NUMBER, str: TEXT}


def members(item: Any) -> tuple[str, ...]:
    """Return the texts of an enum; none for another type."""
    if isinstance(item, type) and issubclass(item, enum.StrEnum):
        return tuple(map(str, item))
    return ()


def _default(field: attrs.Attribute[Any]) -> Any:
    return "" if field.default in {attrs.NOTHING, None} else field.default


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
