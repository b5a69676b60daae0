"""Finds the installed plugins, and imports the enabled ones."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import PurePath
from types import MappingProxyType, ModuleType
from typing import Any, Final

import attrs

from hostspec.errors import Fault, describe_error
from hostspec.hookspecs import PROJECT
from hostspec.plugins.registry import (
    Assembly,
    PluginInfo,
    Plugins,
    PluginsError,
    PluginState,
    RefusedError,
)
from hostspec.text import nearest_or_all, unknown_name

_log = logging.getLogger("hostspec")

_REMNANTS: Final = ("~", "-")
"""Prefixes of folders that pip moves aside; an interrupted pip leaves them behind."""


def load(
    enabled: Iterable[str],
    *,
    own: Mapping[str, object] | None = None,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> Plugins:
    """Load all enabled plugins, or none.

    Args:
        enabled: names of entry points in the group ``hostspec``. Others are not imported.
        own: plugins of the program itself (modules or instances), by name; always enabled.
        settings: the plugins' own settings, by plugin, as in a file.

    Raises:
        PluginsError: one or more cannot be used; without them, alerts could be lost silently.
    """
    plugins = survey(enabled, own=own, settings=settings)
    failed = [info for info in plugins.infos if info.state is PluginState.FAILED]
    if failed:
        raise PluginsError(failed)
    return plugins


def installed() -> tuple[str, ...]:
    """Return the names of all installed plugins; imports none of them."""
    return tuple(_found())


def survey(
    enabled: Iterable[str],
    *,
    own: Mapping[str, object] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Plugins:
    """Load plugins as `load` does, but leave out failing ones, with their reasons in ``infos``.

    Use it to list plugins, not to run a host. None for the settings configures no plugin.
    """
    infos, plugins = _import(set(enabled), own or {})
    for name in settings or ():
        if name not in plugins and name not in infos:
            fault = Fault("", unknown_name(name, plugins))
            infos[name] = _failed(PluginInfo(name), "is not enabled, but has settings", [fault])
    while True:
        try:
            return Assembly(infos, settings).run(plugins)
        except RefusedError as refused:
            # assembled again without it, so that nothing of it remains
            del plugins[refused.plugin]
            info = infos[refused.plugin]
            infos[refused.plugin] = _failed(info, refused.reason, refused.faults)


def _import(
    enabled: Collection[str], own: Mapping[str, object]
) -> tuple[dict[str, PluginInfo], dict[str, object]]:
    """Import the enabled plugins only; a failed import is only in the infos."""
    found = _found()
    infos = {
        name: _info(points[0], PluginState.DISABLED, "not enabled")
        for name, points in found.items()
    } | {name: PluginInfo(name) for name in own}
    plugins = dict(own)
    for name in sorted(enabled):
        points = found.get(name, ())
        infos[name] = _info(points[0]) if points else PluginInfo(name)
        plugins.pop(name, None)
        try:
            plugins[name] = _load(name, found, own)
        except RefusedError as refused:
            infos[name] = _failed(infos[name], refused.reason)
    return infos, plugins


def _load(
    name: str, found: Mapping[str, Sequence[EntryPoint]], own: Mapping[str, object]
) -> object:
    points = found.get(name, ())
    if name in own:
        raise RefusedError(name, "the program has its own plugin of that name")
    if not points:
        known = nearest_or_all(name, found, "installed are", "no plugin is installed")
        raise RefusedError(name, f"is not installed; {known}")
    if len(points) > 1:
        offering = " and ".join(_origin(point) for point in points)
        raise RefusedError(name, f"two distributions offer it: {offering}; remove one")
    try:
        return points[0].load()
    except BaseException as error:  # noqa: BLE001 -- an import may raise anything
        raise RefusedError(name, f"cannot be imported: {_why_no_import(error)}") from None


def _why_no_import(error: BaseException) -> str:
    described = describe_error(error)
    match error:
        case ModuleNotFoundError(name=str(missing)):
            return f"there is no module {missing!r}"
        case SyntaxError(filename=str(file), lineno=int(line)):
            return f"its syntax is wrong at {PurePath(file).name}:{line}"
        case AttributeError(name=str(missing), obj=ModuleType(__name__=module)):
            return f"the module {module!r} has no {missing!r}"
    return f"it {described}"


def _failed(info: PluginInfo, reason: str, faults: Iterable[Fault] = ()) -> PluginInfo:
    return attrs.evolve(info, state=PluginState.FAILED, reason=reason, faults=tuple(faults))


def _found() -> dict[str, list[EntryPoint]]:
    """Return the entry points of the group by name, in an order that is the same everywhere."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in sorted(_of_distributions(), key=lambda each: (each.name, _origin(each))):
        # one plugin, even if listed twice
        found.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: list(points.values()) for name, points in found.items()}


def _of_distributions() -> Iterator[EntryPoint]:
    """Yield the entry points of each distribution; of several with one name, the first's.

    `importlib.metadata.entry_points` reads only the first folder of a distribution, even if it is
    empty: an upgrade may leave such folders behind.
    """
    seen: set[str] = set()
    for distribution in distributions():
        folder = _folder(distribution)
        if folder.name.startswith(_REMNANTS):
            continue
        try:
            points = tuple(distribution.entry_points.select(group=PROJECT))
        except Exception as error:  # noqa: BLE001 -- the file may be damaged
            _log.warning("%s is left out: its entry points cannot be read: %s", folder, error)
            continue
        if not points:  # reading the name parses the whole metadata, its README too
            continue
        name = re.sub(r"[-_.]+", "-", _described(distribution)[0]).lower()
        if name not in seen:
            yield from points
            if name:
                seen.add(name)


def _folder(distribution: Distribution) -> PurePath:
    """Return the folder of a distribution's metadata, or where it is installed."""
    folder = getattr(distribution, "_path", None)
    return PurePath(str(folder or distribution.locate_file("")))


def _described(distribution: Distribution | None) -> tuple[str, str]:
    """Return the name and version of a distribution; blank if unknown."""
    try:
        metadata: Any = distribution.metadata if distribution else None
    except Exception:  # noqa: BLE001 -- the file may be damaged
        metadata = None
    if metadata is None:  # from Python 3.13 on, if there is no file
        return "", ""
    return metadata.get("Name") or "", metadata.get("Version") or ""


def _origin(point: EntryPoint) -> str:
    assert point.dist is not None  # noqa: S101 -- it was found there
    words = " ".join(_described(point.dist)).strip() or point.value
    return f"{words} in {_folder(point.dist)}"


def _info(
    point: EntryPoint, state: PluginState = PluginState.ACTIVE, reason: str = ""
) -> PluginInfo:
    return PluginInfo(point.name, *_described(point.dist), state, reason)
