"""Finds, orders, blocks, loads and verifies plugins, and puts together what they offer."""

from __future__ import annotations

import difflib
import enum
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from hostspec.action import Action, AnyAction, Capabilities
from hostspec.faults import Fault
from hostspec.hookspecs import Hooks, HostSpec
from hostspec.kernel.calling import IsolatedHooks, ask, implementations
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
    infos, plugins = _import(set(enabled), own or {})
    while True:
        try:
            return _Assembly(infos).run(plugins)
        except _RefusedError as refused:
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
        except _RefusedError as refused:
            infos[name] = _failed(infos[name], refused.reason)
    return infos, plugins


def _load(
    name: str, found: Mapping[str, Sequence[EntryPoint]], own: Mapping[str, object]
) -> object:
    points = found.get(name, ())
    if name in own:
        raise _RefusedError(name, "the program has a plugin of its own of that name")
    if not points:
        raise _RefusedError(name, f"is not installed{_meant(name, found)}")
    if len(points) > 1:
        offering = " and ".join(_origin(point) for point in points)
        raise _RefusedError(name, f"two distributions offer it: {offering}; remove one")
    try:
        return points[0].load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- whatever an import does
        raise _RefusedError(name, f"cannot be imported: {_in_words(error)}") from None


class _RefusedError(Exception):
    """A plugin cannot be used, and why."""

    def __init__(self, plugin: str, reason: str) -> None:
        self.plugin = plugin
        self.reason = reason
        super().__init__(plugin, reason)


class _Assembly:
    """One assembly of one set of plugins, from what was imported to what they offer."""

    def __init__(self, infos: Mapping[str, PluginInfo]) -> None:
        self._infos = dict(infos)
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HostSpec)
        self._manager.hook.hostspec_addhooks.call_historic(kwargs={"pluginmanager": self._manager})
        self._hooks = IsolatedHooks(self._manager)
        self._providers: dict[str, Provider[Any]] = {}
        self._actions: dict[str, AnyAction] = {}

    def run(self, plugins: Mapping[str, object]) -> Plugins:
        """Put the plugins together.

        Raises:
            _RefusedError: one of them cannot be used.
        """
        for info in self._infos.values():
            if info.state is PluginState.DISABLED:
                self._manager.set_blocked(info.name)
        # pluggy calls what was registered last first: registered backwards, plugins are
        # called in the order of their names, on every machine
        for name in sorted(plugins, reverse=True):
            self._register(name, plugins[name])
        for name in sorted(plugins):
            self._refuse_unknown_hooks(name, plugins[name])
        self._gather("hostspec_providers", self._add_provider)
        self._gather("hostspec_actions", self._add_action)
        return Plugins(
            infos=tuple(self._infos[name] for name in sorted(self._infos)),
            providers=self._providers,
            actions=self._actions,
            hooks=self._hooks,
        )

    def _register(self, name: str, plugin: object) -> None:
        if inspect.isclass(plugin):
            raise _RefusedError(name, "is a class; register an instance of it")
        marked = tuple(self._marked(plugin))
        if not marked:
            raise _RefusedError(name, "implements no hook; is it marked with hookimpl?")
        twin = self._manager.get_name(plugin)
        if twin is not None:
            raise _RefusedError(name, f"equals the plugin {twin!r}; each is registered once")
        for hook, options, function in marked:
            unfit = _unfit(options, function)
            if unfit:
                raise _RefusedError(name, f"{hook} {unfit}; hooks are plain functions")
        try:
            self._manager.register(plugin, name=name)
        except pluggy.PluginValidationError as error:
            # a plugin that adds hooks learns here that another one implements them wrongly
            guilty = self._manager.get_name(error.plugin) or name
            reason = f"cannot be registered: {' '.join(str(error).split())}"
            raise _RefusedError(guilty, reason) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- hostspec_addhooks may raise anything
            raise _RefusedError(name, f"hostspec_addhooks failed: {_in_words(error)}") from None
        hooks = tuple(sorted({hook for hook, _, _ in marked}))
        self._infos[name] = attrs.evolve(self._infos[name], hooks=hooks)

    def _marked(self, plugin: object) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
        """Find the hooks a plugin implements: name, options, function."""
        for attribute in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                yield options.get("specname") or attribute, options, getattr(plugin, attribute)

    def _refuse_unknown_hooks(self, name: str, plugin: object) -> None:
        callers = vars(self._manager.hook)
        known = [hook for hook, caller in callers.items() if caller.has_spec()]
        for hook, options, _ in self._marked(plugin):
            if hook not in known and not options.get("optionalhook"):
                reason = f"implements a hook that nobody calls: {unknown(hook, known)}"
                raise _RefusedError(name, reason)

    def _gather(self, hook: str, add: Callable[[str, object], str | None]) -> None:
        for implementation in implementations(self._manager, hook):
            name = implementation.plugin_name
            answer = ask(implementation, {"hooks": self._hooks})
            if answer.failure:
                raise _RefusedError(name, f"{hook} failed: {answer.failure}")
            if not isinstance(answer.value, (list, tuple)):
                raise _RefusedError(name, f"{hook} returned no tuple or list")
            for offered in answer.value:
                reason = _check_offer(add, name, offered)
                if reason:
                    raise _RefusedError(name, f"{hook}: {reason}")

    def _add_provider(self, plugin: str, provider: object) -> str | None:
        if not isinstance(provider, Provider):
            return f"a {type(provider).__name__} is no Provider"
        if not _is_named(provider):
            return f"name and label of a {type(provider).__name__} must be text"
        if provider.name in self._providers:
            return f"there is a provider {provider.name!r} already"
        json_schema(provider.settings)
        self._providers[provider.name] = provider
        info = self._infos[plugin]
        self._infos[plugin] = attrs.evolve(info, providers=(*info.providers, provider.name))
        return None

    def _add_action(self, plugin: str, action: object) -> str | None:
        if not isinstance(action, Action):
            return f"a {type(action).__name__} is no Action"
        if not _is_named(action):
            return f"name and label of a {type(action).__name__} must be text"
        if action.name in self._actions:
            return f"there is an action {action.name!r} already"
        if action.provider not in self._providers:
            return f"action {action.name!r} needs the provider {action.provider!r}"
        if not isinstance(action.capabilities, Capabilities):
            return f"action {action.name!r} does not say its capabilities"
        json_schema(action.settings)
        self._actions[action.name] = action
        info = self._infos[plugin]
        self._infos[plugin] = attrs.evolve(info, actions=(*info.actions, action.name))
        return None


def _check_offer(
    add: Callable[[str, object], str | None], plugin: str, offered: object
) -> str | None:
    try:
        return add(plugin, offered)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- an attribute may be anything, or missing
        return f"the {type(offered).__name__} is not complete: {_in_words(error)}"


def _is_named(offered: Provider[Any] | AnyAction) -> bool:
    texts: tuple[object, ...] = (offered.name, offered.label)
    return all(isinstance(text, str) and text.strip() for text in texts)


def _failed(info: PluginInfo, reason: str) -> PluginInfo:
    return attrs.evolve(info, state=PluginState.FAILED, reason=reason)


def _in_words(error: BaseException) -> str:
    """Tell an error of a plugin while it is loaded, when it knows no secret yet."""
    return f"{type(error).__name__}: {error}"


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


def _unfit(options: Mapping[str, Any], function: Any) -> str | None:
    if options.get("wrapper") or options.get("hookwrapper"):
        return "is a wrapper"
    if inspect.iscoroutinefunction(function):
        return "is a coroutine function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "is a generator function"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            # pluggy does not see such an argument, and never passes it
            return f"takes {parameter}, which is no plain argument"
    return None
