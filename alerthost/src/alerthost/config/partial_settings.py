"""Installations without their faulty settings, so that the rules that use them are checked too."""

from __future__ import annotations

import contextlib
import copy
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from hostspec.errors import Fault
from hostspec.provider import Installation
from hostspec.settings import SettingsError, secrets

_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_ENTRY: Final = re.compile(r"(.*\]).*")

Install = Callable[[Mapping[str, Any]], Installation[Any]]
"""Builds an installation of raw settings; raises SettingsError."""


def first_key(path: str) -> str:
    """Return the first key of a path."""
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def install_partially(
    install: Install, settings: Mapping[str, Any], faults: Iterable[Fault]
) -> Installation[Any] | None:
    """Build an installation without the faulty settings; None if even that is not possible."""
    paths = [fault.path for fault in faults]
    for remaining in _remaining(settings, paths):
        with contextlib.suppress(SettingsError):
            return _install_with_secrets(install, remaining)
    return None


def _remaining(settings: Mapping[str, Any], paths: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the settings with more and more of them removed."""
    yield settings
    yield _without(settings, paths)
    if all(_is_text(settings, path) for path in paths if "[" in path):
        # without whole entries; unless an entry's name is missing, which a rule may refer to
        yield _without(settings, [_ENTRY.sub(r"\1", path) for path in paths])
    yield _without(settings, [first_key(path) for path in paths])


def _install_with_secrets(install: Install, settings: Mapping[str, Any]) -> Installation[Any]:
    """Build an installation, with references in place of missing secrets.

    Raises:
        SettingsError: other settings are missing or faulty.
    """
    try:
        return install(settings)
    except SettingsError as error:
        missing = [fault.path for fault in error.faults]
        installation = install(_with_references(settings, missing))
        secret = [path for path, _ in secrets(installation.settings)]
        if not all(any(each.startswith(path) for each in secret) for path in missing):
            raise
        return installation


def _with_references(settings: Mapping[str, Any], paths: Iterable[str]) -> Mapping[str, Any]:
    copied: Any = copy.deepcopy(dict(settings))
    for path in paths:
        *above, last = _steps(path) or [""]
        with contextlib.suppress(LookupError, TypeError):  # the path has no table
            functools.reduce(operator.getitem, above, copied)[last] = "env:FAULTY"
    return cast("Mapping[str, Any]", copied)


def _without(settings: Mapping[str, Any], paths: Iterable[str]) -> Mapping[str, Any]:
    copied: Any = copy.deepcopy(dict(settings))
    for path in sorted(set(paths), key=_order, reverse=True):  # entries of a list from its end
        *above, last = _steps(path) or [""]
        with contextlib.suppress(LookupError, TypeError):
            del functools.reduce(operator.getitem, above, copied)[last]
    return cast("Mapping[str, Any]", copied)


def _is_text(settings: Mapping[str, Any], path: str) -> bool:
    try:
        return isinstance(functools.reduce(operator.getitem, _steps(path), settings), str)
    except (LookupError, TypeError):
        return False


def _order(path: str) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in _steps(path)]


def _steps(path: str) -> list[Any]:
    return [int(n) if n else name for n, name in _STEP.findall(path)]
