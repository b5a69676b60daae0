"""Forms of all settings of a class: with its tables, lists of tables and mappings. Pure.

`fields_of` makes the fields of raw settings, and `read` makes raw settings of the fields. Both
leave a list of mappings to the caller.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from alerthost.config.cli_settings import is_list, item_of, parse
from alerthost.console.forms import CHOICE, FLAG, LINES, NUMBER, TEXT, Field, members
from hostspec.errors import Fault
from hostspec.normalisation import Json
from hostspec.provider import Destination
from hostspec.secret import Secret
from hostspec.settings import SettingInfo, info_of, join, key_of
from hostspec.structuring import settings_to_json
from hostspec.text import clean_text

_BLANK: Final[tuple[Any, ...]] = (None, "", [], {})

SEVERAL, PAIRS, LONG = "several", "pairs", "long"
"""More kinds of fields: several of the choices, lines of NAME = VALUE, and a text of lines."""

_Factory: Final[Any] = attrs.Factory  # the type checkers know it as a function

_NOT_PAIRS: Final = "each line is NAME = VALUE, such as runbook = https://wiki.example.org/disk"


@attrs.frozen
class _Setting:
    """A declared setting in a form.

    Attributes:
        key: in its table.
        path: its name in the form.
        kind: of its field; empty for a table or a list of tables.
        item: the type of its value, or of an entry of it.
    """

    key: str
    path: str
    kind: str
    item: Any
    info: SettingInfo
    is_list: bool
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is attrs.NOTHING

    @property
    def default_value(self) -> Any:
        """The raw value of its default; None for none."""
        if self.is_required:
            return None
        default = self.default
        return settings_to_json(default.factory() if isinstance(default, _Factory) else default)

    @property
    def is_emptied(self) -> bool:
        """Whether a blank value of it differs from its default, as nothing is ticked."""
        return self.kind == SEVERAL and bool(self.default_value)

    @property
    def is_json(self) -> bool:
        """Whether its values may be any JSON."""
        return Json in (self.item, *typing.get_args(self.item)[1:])


def fields_of(
    kind: type,
    values: Mapping[str, Any],
    faults: Sequence[Fault] = (),
    path: str = "",
    destinations: Sequence[Destination] | None = None,
) -> Iterator[Field]:
    """Yield the fields of a settings class; a list of tables has those of one more entry.

    Args:
        kind: the settings class.
        values: raw settings.
        faults: with their paths in the form.
        path: of the settings in the form.
        destinations: the choices of settings that name destinations; None for any text.
    """
    for each in _settings(kind, path, destinations):
        value = values.get(each.key)
        if each.kind:
            yield _field(each, value, faults, destinations)
        elif each.is_list:
            entries = value if isinstance(value, list | tuple) else ()
            for index, entry in enumerate((*entries, {})):
                below = f"{each.path}[{index}]"
                label = f"{each.info.label} {index + 1}"
                given = entry if isinstance(entry, Mapping) else {}
                yield from _labelled(label, fields_of(each.item, given, faults, below))
        else:
            given = value if isinstance(value, Mapping) else {}
            yield from _labelled(
                each.info.label, fields_of(each.item, given, faults, each.path, destinations)
            )


def read(
    kind: type,
    form: Mapping[str, str],
    path: str = "",
    destinations: Sequence[Destination] | None = None,
) -> dict[str, Any]:
    """Return raw settings from a form, without those that are blank or have their default."""
    raw: dict[str, Any] = {}
    for each in _settings(kind, path, destinations):
        value: Any
        if each.kind:
            value = _READ[each.kind](each, form)
        elif each.is_list:
            value = list(_entries(each, form))
        else:
            value = read(each.item, form, each.path, destinations)
        if value != each.default_value and (value not in _BLANK or each.is_emptied):
            raw[each.key] = value
    return raw


def other_faults(fields: Iterable[Field], faults: Iterable[Fault]) -> list[Fault]:
    """Return the faults that are beside no field."""
    paths = {field.name for field in fields}
    return [fault for fault in faults if not any(_is_within(fault.path, path) for path in paths)]


def _is_within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}[", f"{outer}."))


def _settings(
    kind: type, path: str, destinations: Sequence[Destination] | None
) -> Iterator[_Setting]:
    attrs.resolve_types(kind)
    for field in attrs.fields(kind):
        item, info = item_of(field.type), info_of(field)
        several = is_list(field.type)
        widget = _widget(field.type, item, info, has_choices=destinations is not None)
        if widget is not None:
            name = join(path, key_of(field))
            yield _Setting(key_of(field), name, widget, item, info, several, field.default)


def _widget(declared: Any, item: Any, info: SettingInfo, *, has_choices: bool) -> str | None:
    """Return the kind of a field; empty for a table, and None for a list of mappings."""
    if attrs.has(item):
        return ""
    if typing.get_origin(item) in (Mapping, dict):
        return None if is_list(declared) else PAIRS
    chosen = info.choices or members(item) or (info.destinations and has_choices)
    if is_list(declared) or any(map(is_list, typing.get_args(declared))):
        return SEVERAL if chosen else LINES
    if chosen:
        return CHOICE
    return {bool: FLAG, int: NUMBER, float: NUMBER}.get(item, TEXT)


def _field(
    each: _Setting,
    value: Any,
    faults: Sequence[Fault],
    destinations: Sequence[Destination] | None,
) -> Field:
    value = each.default_value if value is None else value
    choices = _choices(each, destinations)
    chosen: tuple[str, ...] = ()
    kind, text = each.kind, _shown(each, value)
    if kind == SEVERAL:
        given = value if isinstance(value, list | tuple) else ()
        chosen = tuple(_id_of(str(one), choices, destinations) for one in given)
        choices = {**choices, **{one: one for one in chosen if one not in choices}}
    elif kind == CHOICE:
        text = _id_of(text, choices, destinations)
        if text not in choices:
            choices = {text: text or "\N{EN DASH}", **choices}
    elif kind == TEXT and "\n" in text:
        kind = LONG
    reasons = [_reason(each, fault) for fault in faults if _is_within(fault.path, each.path)]
    if reasons and kind == PAIRS and isinstance(value, str):
        reasons = [_NOT_PAIRS]
    return Field(
        name=each.path,
        kind=kind,
        label=each.info.label,
        help=each.info.help,
        value=text,
        is_required=each.is_required,
        choices=tuple(choices),
        faults=tuple(reasons),
        titles=choices,
        chosen=chosen,
    )


def _reason(each: _Setting, fault: Fault) -> str:
    """Return the reason of a fault, with its place within the field."""
    within = fault.path.removeprefix(each.path).strip(".")
    if each.kind == LINES and within:
        number = within.strip("[]")
        return f"line {int(number) + 1}: {fault.reason}" if number.isdecimal() else fault.reason
    return f"{within}: {fault.reason}" if each.kind == PAIRS and within else fault.reason


def _choices(each: _Setting, destinations: Sequence[Destination] | None) -> dict[str, str]:
    if each.info.destinations:
        return {one.id: one.name for one in destinations or ()}
    return {one: one for one in each.info.choices or members(each.item)}


def _id_of(
    given: str, choices: Mapping[str, str], destinations: Sequence[Destination] | None
) -> str:
    """Return the choice that a value names: a destination may be given by its name."""
    if given in choices:
        return given
    return next((one.id for one in destinations or () if one.name == given), given)


def _labelled(label: str, fields: Iterable[Field]) -> Iterator[Field]:
    for field in fields:
        yield attrs.evolve(field, label=f"{label}: {field.label}", is_required=False)


def _entries(each: _Setting, form: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    index = 0
    while any(name.startswith(f"{each.path}[{index}].") for name in form):
        entry = read(each.item, form, f"{each.path}[{index}]")
        if entry:
            yield entry
        index += 1


def _shown(each: _Setting, value: Any) -> str:
    """Return a value as it is edited; a secret that is no reference is not sent back."""
    if value is None:
        return ""
    if each.item is Secret:
        return value if isinstance(value, str) and Secret(value).reference else ""
    if each.kind == PAIRS:
        if not isinstance(value, Mapping):
            return str(value)
        return "\n".join(f"{_quoted(name)} = {_text_of(each, one)}" for name, one in value.items())
    if each.kind == LINES and isinstance(value, list | tuple):
        return "\n".join(_text_of(each, one) for one in value)
    if each.kind == FLAG:
        return "yes" if value else ""
    return _text_of(each, value)


def _text_of(each: _Setting, value: Any) -> str:
    return _as_text(value) if each.is_json else str(value)


def _as_text(value: Any) -> str:
    """Return a value on one line, as `_value` reads it: JSON, unless it is a plain text."""
    if isinstance(value, str) and _is_plain(value) and _value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    return bool(text) and text == text.strip() and not {"\n", "\r"} & set(text)


def _quoted(name: str) -> str:
    plain = _is_plain(name) and not name.startswith('"') and "=" not in name
    return name if plain else json.dumps(name, ensure_ascii=False)


def _value(text: str) -> Any:
    """Read JSON; any other text is itself."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _text(each: _Setting, form: Mapping[str, str]) -> Any:
    text = _lines_of(form.get(each.path, "")).strip()
    return _value(text) if text and each.is_json else text


def _lines_of(text: str) -> str:
    return clean_text(text.replace("\r\n", "\n"))


def _number(each: _Setting, form: Mapping[str, str]) -> Any:
    text = form.get(each.path, "").strip()
    return parse(text) if text else None


def _flag(each: _Setting, form: Mapping[str, str]) -> Any:
    return bool(form.get(each.path))


def _lines(each: _Setting, form: Mapping[str, str]) -> Any:
    lines = [line.strip() for line in _lines_of(form.get(each.path, "")).split("\n")]
    is_text = each.item in (str, Any, Secret)
    entries = [line if is_text else _value(line) for line in lines if line]
    return entries[0] if len(entries) == 1 and not each.is_list else entries


def _several(each: _Setting, form: Mapping[str, str]) -> Any:
    found = [value for name, value in form.items() if name.startswith(f"{each.path}[")]
    return list(dict.fromkeys(map(clean_text, found)))


def _pairs(each: _Setting, form: Mapping[str, str]) -> Any:
    """Read a mapping; return the text itself if a line of it cannot be read."""
    text = _lines_of(form.get(each.path, "")).strip()
    found: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        name, equals, value = line.partition("=")
        name = name.strip()
        if line.startswith('"'):
            try:
                name, end = json.JSONDecoder().raw_decode(line)
            except ValueError:
                return text
            rest, equals, value = line[end:].partition("=")
            equals = "" if rest.strip() else equals
        if not equals or not name:
            return text
        found[name] = _value(value.strip()) if each.is_json else value.strip()
    return found


_READ: Final[Mapping[str, Callable[[_Setting, Mapping[str, str]], Any]]] = {
    TEXT: _text,
    CHOICE: _text,
    NUMBER: _number,
    FLAG: _flag,
    LINES: _lines,
    SEVERAL: _several,
    PAIRS: _pairs,
}
