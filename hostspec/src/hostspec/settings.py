"""The declaration of settings: an attrs class, from which objects, schemas and forms are made.

A settings class is a frozen, keyword-only attrs class whose fields are declared by `setting`.
Their types may be ``bool``, ``int``, ``float``, ``str``, an enum of texts, `Secret`, another
settings class, ``tuple[T, ...]``, ``Mapping[str, T]``, ``T | tuple[T, ...]`` (one value, or a
list), ``T | None``, and `Json` for any value except null. To check several fields together, add a
method ``faults(self) -> Iterable[Fault]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec.errors import Fault, FaultsError
from hostspec.secret import Secret
from hostspec.text import closest

_METADATA: Final = "hostspec.settings"

_LONGEST_WORD: Final = 20
"""The maximum length of an unknown word that is quoted: keys and tokens are longer."""


class SettingsError(FaultsError):
    """Invalid settings; ``faults`` holds the path and reason of every fault."""


@attrs.frozen
class SettingInfo:
    """The declaration of a setting, besides its type and default.

    Attributes:
        label: its name in forms.
        help: a sentence that explains it.
        choices: the allowed values, also of a list's entries; empty for any.
        minimum: the minimum number, also of a list's entries; None for none.
        maximum: the maximum number, likewise.
        least_items: the minimum number of entries of a list or table.
        check: returns the reason why a value is invalid, or None; called for each entry of a
            table. It may raise `FaultsError` to give paths within the value.
        destinations: its texts are destinations of the installation, which are the choices then
            (`hostspec.json_schema`).
    """

    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    least_items: int = 0
    check: Callable[[Any], str | None] | None = None
    destinations: bool = False


def setting(  # noqa: PLR0913 -- one argument for each attribute of a declaration
    label: str,
    *,
    help: str = "",  # noqa: A002 -- the usual word in forms and on command lines
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


def info_of(field: attrs.Attribute[Any]) -> SettingInfo:
    """Return a field's declaration; a field without one is labelled with its name."""
    info = field.metadata.get(_METADATA)
    return info if isinstance(info, SettingInfo) else SettingInfo(key_of(field))


def secrets(settings: object, path: str = "") -> Iterator[tuple[str, Secret]]:
    """Yield the path and the value of every secret in a settings object."""
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
                below = join(path, key_of(field))
                yield from secrets(getattr(settings, field.name), below)


def value_faults(value: Any, info: SettingInfo) -> list[Fault]:
    """Return the faults of a value that has the right type."""
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
        return unknown_choice(value, info.choices)
    if info.minimum is not None and value < info.minimum:
        return f"{value} is too small; the least is {info.minimum}"
    if info.maximum is not None and value > info.maximum:
        return f"{value} is too large; the most is {info.maximum}"
    return None


def unknown_choice(word: str, known: Sequence[str]) -> str:
    """Return the fault of an unknown word; a long one, which may be a secret, is not quoted."""
    quoted = repr(word) if len(word) <= _LONGEST_WORD else "this"
    return f"{quoted} is unknown{did_you_mean(word, known)}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return what to add to "unknown": the nearest known word, if any, and all of them."""
    near = closest(word, known)
    return (f" (did you mean {near!r}?)" if near else "") + f"; known are {', '.join(known)}"


def join(path: str, name: str) -> str:
    """Return the dotted path of a member."""
    return f"{path}.{name}" if path else name
