"""Finds, orders, blocks, loads and verifies plugins, and puts together what they offer."""

from __future__ import annotations

import difflib
import enum
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from hostspec.action import Action, AnyAction, Capabilities
from hostspec.faults import Fault
from hostspec.hookspecs import Hooks, HostSpec
from hostspec.kernel.calling import IsolatedHooks, ask, implementations, told
from hostspec.kernel.rules import RuleAction
from hostspec.markers import PROJECT
from hostspec.provider import Installation, Provider
from hostspec.schema import json_schema
from hostspec.settings import SettingsError, structure


class PluginState(enum.StrEnum):
    """Whether a plugin takes part."""

    ACTIVE = "active"
    DISABLED = "disabled"
    FAILED = "failed"


@attrs.frozen
class PluginInfo:
    """What is known of one plugin.

    Attributes:
        name: of its entry point, or the one the host's program gave it.
        distribution: that installed it; empty for the program's own.
        version: of the distribution.
        state: active, disabled or failed.
        reason: why it is not active, for a person.
        providers: names of the providers it offers.
        actions: names of the actions it offers.
        hooks: names of the hooks it implements.
    """

    name: str
    distribution: str = ""
    version: str = ""
    state: PluginState = PluginState.ACTIVE
    reason: str = ""
    providers: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()

    @property
    def extends(self) -> tuple[str, ...]:
        """Names of the hooks it implements that are not the host's own: other plugins'."""
        return tuple(hook for hook in self.hooks if not hook.startswith(f"{PROJECT}_"))


class PluginsError(Exception):
    """An enabled plugin cannot be used; ``failed`` holds every one, with its reason."""

    def __init__(self, failed: Iterable[PluginInfo]) -> None:
        self.failed = tuple(failed)
        super().__init__("; ".join(f"plugin {info.name}: {info.reason}" for info in self.failed))


@attrs.frozen(eq=False)
class Plugins:
    """The plugins of a host, and what the active ones offer.

    Attributes:
        infos: every plugin found or asked for, by name.
        providers: by name.
        actions: by name.
        hooks: calls the hooks, each implementation isolated.
    """

    infos: tuple[PluginInfo, ...]
    providers: Mapping[str, Provider[Any]]
    actions: Mapping[str, AnyAction]
    hooks: Hooks

    def installation(self, provider: str, name: str, settings: object) -> Installation[Any]:
        """Make an installation of a provider, from settings as a file would hold them.

        Raises:
            SettingsError: no active plugin offers the provider, or the settings are wrong.
        """
        if provider not in self.providers:
            raise SettingsError([Fault("provider", unknown(provider, self.providers))])
        return self.providers[provider].installation(name, settings)

    def rule_action(
        self, action: str, installation: Installation[Any], settings: object
    ) -> RuleAction:
        """Make what a rule does, from settings as a file would hold them.

        Raises:
            SettingsError: no active plugin offers the action, it does not send through such
                an installation, or the settings are wrong.
        """
        if action not in self.actions:
            raise SettingsError([Fault("use", unknown(action, self.actions))])
        found = self.actions[action]
        if found.provider != installation.provider:
            reason = f"is a {installation.provider} installation; {action} needs {found.provider}"
            raise SettingsError([Fault("installation", reason)])
        structured = structure(found.settings, settings)
        faults = found.check(structured, installation)
        if faults:
            raise SettingsError(faults)
        return RuleAction(found, installation, structured)


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, and which was meant or could be."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"{name!r} is unknown; did you mean {close[0]!r}?"
    return f"{name!r} is unknown; known are {', '.join(names) or 'none'}"


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
    return _Assembly().run(tuple(enabled), own or {})


class _Assembly:
    """One assembly of one set of plugins, from entry points to what they offer."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HostSpec)
        self._manager.hook.hostspec_addhooks.call_historic(kwargs={"pluginmanager": self._manager})
        self._hooks = IsolatedHooks(self._manager)
        self._infos: dict[str, PluginInfo] = {}
        self._providers: dict[str, Provider[Any]] = {}
        self._actions: dict[str, AnyAction] = {}

    def run(self, enabled: Sequence[str], own: Mapping[str, object]) -> Plugins:
        found = _found()
        self._block(found, enabled)
        plugins = dict(self._import(found, enabled, own))
        # pluggy calls what was registered last first: registered backwards, plugins are
        # called in the order of their names, on every machine
        for name in sorted(plugins, reverse=True):
            self._register(name, plugins[name])
        self._refuse_unknown_hooks()
        self._gather("hostspec_providers", self._add_provider)
        self._gather("hostspec_actions", self._add_action)
        return Plugins(
            infos=tuple(self._described(name) for name in sorted(self._infos)),
            providers=self._providers,
            actions=self._actions,
            hooks=self._hooks,
        )

    def _block(self, found: Mapping[str, Sequence[EntryPoint]], enabled: Sequence[str]) -> None:
        for name, points in found.items():
            if name not in enabled:
                self._manager.set_blocked(name)
                self._note(_info(points[0], PluginState.DISABLED, "not enabled"))

    def _import(
        self,
        found: Mapping[str, Sequence[EntryPoint]],
        enabled: Sequence[str],
        own: Mapping[str, object],
    ) -> Iterator[tuple[str, object]]:
        for name, plugin in own.items():
            self._note(PluginInfo(name))
            yield name, plugin
        for name in sorted(set(enabled)):
            points = found.get(name, ())
            if name in own:
                self._fail(name, "the program has a plugin of its own of that name")
            elif not points:
                self._note(PluginInfo(name))
                self._fail(name, f"is not installed{_meant(name, found)}")
            elif len(points) > 1:
                self._note(_info(points[0]))
                offering = " and ".join(_origin(point) for point in points)
                self._fail(name, f"two distributions offer it: {offering}; remove one")
            else:
                self._note(_info(points[0]))
                try:
                    yield name, points[0].load()
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 -- whatever an import does
                    self._fail(name, f"cannot be imported: {type(error).__name__}: {error}")

    def _register(self, name: str, plugin: object) -> None:
        if inspect.isclass(plugin):
            self._fail(name, "is a class; register an instance of it")
            return
        try:
            self._manager.register(plugin, name=name)
        except Exception as error:  # noqa: BLE001 -- hostspec_addhooks may raise anything
            self._fail(name, f"cannot be registered: {error}")
            return
        for caller in self._manager.get_hookcallers(plugin) or ():
            for implementation in caller.get_hookimpls():
                unfit = _unfit(implementation) if implementation.plugin is plugin else None
                if unfit:
                    self._fail(name, f"{caller.name} {unfit}; hooks are plain functions")
                    return

    def _refuse_unknown_hooks(self) -> None:
        while True:
            try:
                self._manager.check_pending()
            except pluggy.PluginValidationError as error:
                name = self._manager.get_name(error.plugin) or ""
                self._fail(name, f"implements a hook nobody calls: {error}")
            else:
                return

    def _gather(self, hook: str, add: Any) -> None:
        for implementation in implementations(self._manager, hook):
            name = implementation.plugin_name
            answer = ask(implementation, {"hooks": self._hooks})
            if answer.failure:
                self._fail(name, f"{hook} failed: {answer.failure}")
            elif not isinstance(answer.value, (list, tuple)):
                self._fail(name, f"{hook} returned no tuple or list")
            else:
                for offered in answer.value:
                    reason = _check_offer(add, name, offered)
                    if reason:
                        self._fail(name, f"{hook}: {reason}")
                        break

    def _add_provider(self, plugin: str, provider: object) -> str | None:
        if not isinstance(provider, Provider):
            return f"{provider!r} is no Provider"
        if provider.name in self._providers:
            return f"there is a provider {provider.name!r} already"
        json_schema(provider.settings)
        self._providers[provider.name] = provider
        info = self._infos[plugin]
        self._note(attrs.evolve(info, providers=(*info.providers, provider.name)))
        return None

    def _add_action(self, plugin: str, action: object) -> str | None:
        if not isinstance(action, Action):
            return f"{action!r} is no Action"
        if action.name in self._actions:
            return f"there is an action {action.name!r} already"
        if action.provider not in self._providers:
            return f"action {action.name!r} needs the provider {action.provider!r}"
        if not isinstance(action.capabilities, Capabilities):
            return f"action {action.name!r} does not say its capabilities"
        json_schema(action.settings)
        self._actions[action.name] = action
        info = self._infos[plugin]
        self._note(attrs.evolve(info, actions=(*info.actions, action.name)))
        return None

    def _described(self, name: str) -> PluginInfo:
        plugin = self._manager.get_plugin(name)
        callers = (self._manager.get_hookcallers(plugin) if plugin is not None else None) or ()
        return attrs.evolve(
            self._infos[name], hooks=tuple(sorted(caller.name for caller in callers))
        )

    def _note(self, info: PluginInfo) -> None:
        self._infos[info.name] = info

    def _fail(self, name: str, reason: str) -> None:
        info = self._infos[name]
        for offered in info.providers:
            del self._providers[offered]
        for offered in info.actions:
            del self._actions[offered]
        self._note(
            attrs.evolve(info, state=PluginState.FAILED, reason=reason, providers=(), actions=())
        )
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)


def _found() -> dict[str, list[EntryPoint]]:
    """Find the entry points of the group by name: their order on disk means nothing."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(
        entry_points(group=PROJECT), key=lambda point: (point.name, _origin(point))
    ):
        found.setdefault(point.name, []).append(point)
    return found


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _info(
    point: EntryPoint, state: PluginState = PluginState.ACTIVE, reason: str = ""
) -> PluginInfo:
    distribution, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
    return PluginInfo(point.name, distribution, version, state, reason)


def _meant(name: str, found: Iterable[str]) -> str:
    known = sorted(found)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; installed are {', '.join(known)}" if known else "; no plugin is installed"


def _unfit(implementation: pluggy.HookImpl) -> str | None:
    if implementation.wrapper or implementation.hookwrapper:
        return "is a wrapper"
    if inspect.iscoroutinefunction(implementation.function):
        return "is a coroutine function"
    if inspect.isgeneratorfunction(implementation.function):
        return "is a generator function"
    return None


def _check_offer(add: Any, plugin: str, offered: object) -> str | None:
    try:
        reason: str | None = add(plugin, offered)
    except Exception as error:  # noqa: BLE001 -- a class attribute may be anything, or missing
        return f"{offered!r} is not complete: {told(error)}: {error}"
    return reason
