"""Files of secrets that settings name: taken from the folder of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from hostspec.secret import Secret

_SCHEME: Final = "file:"


def beside(secret: Secret | None, folder: Path) -> Secret | None:
    """Return a secret whose file, if it has one, is relative to a folder."""
    if secret is None or secret.reference is None:
        return secret
    return Secret(_absolute(secret.reference, folder))


def located(settings: Any, folder: Path) -> Any:
    """Return settings whose ``file:`` references are absolute: raw ones, or an object of them."""
    match settings:
        case Secret() | None:
            return beside(settings, folder)
        case str():
            return _absolute(settings, folder)
        case Mapping():
            return {name: located(value, folder) for name, value in settings.items()}
        case list() | tuple():
            return type(settings)(located(value, folder) for value in settings)
    if not attrs.has(type(settings)):
        return settings
    fields = attrs.fields(type(settings))
    changed = {each.alias: located(getattr(settings, each.name), folder) for each in fields}
    return attrs.evolve(settings, **changed)


def _absolute(text: str, folder: Path) -> str:
    place = text.removeprefix(_SCHEME)
    if place == text or not place:
        return text
    return f"{_SCHEME}{(folder / expanded(place)).absolute()}"


def expanded(place: str) -> Path:
    """Return a path whose ``~`` is the home of the user, where there is one."""
    try:
        return Path(place).expanduser()
    except RuntimeError:
        return Path(place)
