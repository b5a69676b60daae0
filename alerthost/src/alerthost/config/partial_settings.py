"""Settings without the faulty ones, so that one fault hides no other."""

from __future__ import annotations

import contextlib
import copy
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from hostspec.errors import Fault
from hostspec.provider import Installation
from hostspec.settings import SettingsError, secrets
from hostspec.structuring import structure

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_ENTRY: Final = re.compile(r"(.*\]).*")

_T = TypeVar("_T")
_Settings = Mapping[str, Any]

Install = Callable[[_Settings], Installation[Any]]
"""Builds an installation of raw settings; raises SettingsError."""


def read_partially(kind: type[_T], raw: object) -> tuple[_T | None, Sequence[Fault]]:
    """Read a table without its faulty keys, None if that is not possible; return its faults too."""
    try:
        return structure(kind, raw), ()
    except SettingsError as error:
        faults = error.faults
    if isinstance(raw, Mapping):
        with contextlib.suppress(SettingsError):
            return structure(kind, _without(raw, _first_keys(faults))), faults
    return None, faults


def install_partially(
    install: Install, settings: object, faults: Sequence[Fault]
) -> Installation[Any] | None:
    """Build an installation without the faulty settings; None if even that is not possible."""
    if not isinstance(settings, Mapping):
        return None
    for remaining in _remaining(settings, faults):
        with contextlib.suppress(SettingsError):
            return _install_with_secrets(install, remaining)
    return None


def _remaining(settings: _Settings, faults: Sequence[Fault]) -> Iterator[_Settings]:
    """Yield the settings with more and more of them removed."""
    paths = [fault.path for fault in faults]
    yield settings
    yield _without(settings, paths)
    if all(_is_text(settings, path) for path in paths if "[" in path):
        # without whole entries; unless an entry's name is missing, which a rule may refer to
        yield _without(settings, [_ENTRY.sub(r"\1", path) for path in paths])
    yield _without(settings, _first_keys(faults))


def _install_with_secrets(install: Install, settings: _Settings) -> Installation[Any]:
    """Build an installation, with references in place of missing secrets.

    Raises:
        SettingsError: other settings are missing or faulty.
    """
    try:
        return install(settings)
    except SettingsError as error:
        missing = [fault.path for fault in error.faults]
        installation = install(_edited(settings, missing, _set_reference))
        secret = [path for path, _ in secrets(installation.settings)]
        if not all(any(each.startswith(path) for each in secret) for path in missing):
            raise
        return installation


def _set_reference(table: Any, key: Any) -> None:
    table[key] = "env:FAULTY"


def _without(settings: _Settings, paths: Iterable[str]) -> _Settings:
    return _edited(settings, paths, operator.delitem)


def _edited(
    settings: _Settings, paths: Iterable[str], edit: Callable[[Any, Any], None]
) -> _Settings:
    """Return a copy of settings, in which each path that exists is edited."""
    copied: Any = copy.deepcopy(dict(settings))
    for path in sorted(set(paths), key=_order, reverse=True):  # entries of a list from its end
        *above, last = _steps(path) or [""]
        with contextlib.suppress(LookupError, TypeError):
            edit(functools.reduce(operator.getitem, above, copied), last)
    return cast("_Settings", copied)


def _is_text(settings: _Settings, path: str) -> bool:
    try:
        return isinstance(functools.reduce(operator.getitem, _steps(path), settings), str)
    except (LookupError, TypeError):
        return False


def _first_keys(faults: Iterable[Fault]) -> list[str]:
    return [re.split(r"[.\[]", fault.path, maxsplit=1)[0] for fault in faults]


def _order(path: str) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in _steps(path)]


def _steps(path: str) -> list[Any]:
    return [int(n) if n else name for n, name in _STEP.findall(path)]
