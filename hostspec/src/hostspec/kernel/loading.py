"""Finds the plugins that are installed, and imports those that are enabled."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

import attrs

from hostspec.kernel.assembly import Assembly, RefusedError, in_words
from hostspec.kernel.plugins import PluginInfo, Plugins, PluginsError, PluginState
from hostspec.markers import PROJECT


def load(enabled: Iterable[str], *, own: Mapping[str, object] | None = None) -> Plugins:
    """Load the enabled plugins; all of them, or none.

    Args:
        enabled: names of entry points in the group ``hostspec``. Others are not imported.
        own: plugins of the program itself (modules or instances), by name; always enabled.

    Raises:
        PluginsError: one or more cannot be used. A host without them would be silent at night.
    """
    plugins = survey(enabled, own=own)
    failed = [info for info in plugins.infos if info.state is PluginState.FAILED]
    if failed:
        raise PluginsError(failed)
    return plugins


def installed() -> tuple[str, ...]:
    """Give the names of all installed plugins; imports none of them."""
    return tuple(_found())


def survey(enabled: Iterable[str], *, own: Mapping[str, object] | None = None) -> Plugins:
    """Do as `load` does, but leave out what fails and say so in ``infos``; for showing only."""
    infos, plugins = _import(set(enabled), own or {})
    while True:
        try:
            return Assembly(infos).run(plugins)
        except RefusedError as refused:
            # put together anew without it, so that nothing of it is left behind
            del plugins[refused.plugin]
            infos[refused.plugin] = _failed(infos[refused.plugin], refused.reason)


def _import(
    enabled: Collection[str], own: Mapping[str, object]
) -> tuple[dict[str, PluginInfo], dict[str, object]]:
    """Import what is enabled, and nothing else; what cannot be had is only in the infos."""
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
        raise RefusedError(name, "the program has a plugin of its own of that name")
    if not points:
        raise RefusedError(name, f"is not installed{_meant(name, found)}")
    if len(points) > 1:
        offering = " and ".join(_origin(point) for point in points)
        raise RefusedError(name, f"two distributions offer it: {offering}; remove one")
    try:
        return points[0].load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- whatever an import does
        raise RefusedError(name, f"cannot be imported: {in_words(error)}") from None


def _failed(info: PluginInfo, reason: str) -> PluginInfo:
    return attrs.evolve(info, state=PluginState.FAILED, reason=reason)


def _found() -> dict[str, list[EntryPoint]]:
    """Find the entry points of the group by name: their order on disk means nothing."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(
        entry_points(group=PROJECT), key=lambda point: (point.name, _origin(point))
    ):
        found.setdefault(point.name, []).append(point)
    return found


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Give the name and version of what installed an entry point; blank where it does not say."""
    if point.dist is None:
        return "", ""
    # asked this way, what is left of a broken installation is no harm
    metadata = point.dist.metadata
    parts = ("Name", "Version")
    name, version = (metadata[part] if part in metadata else "" for part in parts)  # noqa: SIM401 -- has no get
    return name, version


def _origin(point: EntryPoint) -> str:
    return " ".join(_distribution(point)).strip() or point.value


def _info(
    point: EntryPoint, state: PluginState = PluginState.ACTIVE, reason: str = ""
) -> PluginInfo:
    return PluginInfo(point.name, *_distribution(point), state, reason)


def _meant(name: str, found: Iterable[str]) -> str:
    known = sorted(found)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; installed are {', '.join(known)}" if known else "; no plugin is installed"
