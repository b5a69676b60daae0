"""The loaded plugins: registers, verifies and configures them, and collects their offers."""

from __future__ import annotations

import enum
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import pluggy

from hostspec.action import Action, AnyAction, Capabilities
from hostspec.alert import Alert
from hostspec.errors import Fault, describe_error
from hostspec.hookspecs import PROJECT, Hooks, HostSpec
from hostspec.plugins.isolation import IsolatedHooks, ask, implementations
from hostspec.provider import Installation, Provider
from hostspec.schema import DeclarationError, json_schema
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.text import unknown_name


class PluginState(enum.StrEnum):
    """Whether a plugin is used."""

    ACTIVE = "active"
    DISABLED = "disabled"
    FAILED = "failed"


@attrs.frozen
class PluginInfo:
    """Information about one plugin.

    Attributes:
        name: the name of its entry point, or its name in the host's program.
        distribution: the distribution that installed it; empty for the program's own plugins.
        version: the version of the distribution.
        reason: why it is not active, for the operator.
        faults: the faults of its settings, each with its path.
    """

    name: str
    distribution: str = ""
    version: str = ""
    state: PluginState = PluginState.ACTIVE
    reason: str = ""
    providers: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def extends(self) -> tuple[str, ...]:
        """Names of the hooks of other plugins that it implements."""
        return tuple(hook for hook in self.hooks if not hook.startswith(f"{PROJECT}_"))


class PluginsError(Exception):
    """An enabled plugin cannot be used; ``failed`` holds every one, with its reason."""

    def __init__(self, failed: Iterable[PluginInfo]) -> None:
        self.failed = tuple(failed)
        super().__init__("; ".join(f"plugin {info.name}: {info.reason}" for info in self.failed))


@attrs.frozen
class RuleAction:
    """An action with its settings and the installation that it sends through."""

    action: AnyAction
    installation: Installation[Any]
    settings: Any


def _as_tuple(actions: Iterable[RuleAction]) -> tuple[RuleAction, ...]:
    return tuple(actions)


@attrs.frozen(eq=False)
class Rule:
    """Decides which alerts start which actions.

    Attributes:
        name: unique in a host; deliveries carry it.
        matches: decides for an alert; by default, every alert matches.
        resolve_unknown: a resolve that it matches is sent, too, if the host has no open incident
            for it: another process may have opened one.
    """

    name: str
    actions: tuple[RuleAction, ...] = attrs.field(converter=_as_tuple)
    matches: Callable[[Alert], bool] = lambda _: True
    resolve_unknown: bool = False


@attrs.frozen(eq=False)
class Plugins:
    """The plugins of a host, with the providers and actions of the active ones, by name.

    Attributes:
        infos: information about every plugin that is installed or enabled, sorted by name.
        hooks: calls the hooks, each implementation in isolation.
        settings: the classes of the plugins' own settings, by plugin.
    """

    infos: tuple[PluginInfo, ...]
    providers: Mapping[str, Provider[Any]]
    actions: Mapping[str, AnyAction]
    hooks: Hooks
    settings: Mapping[str, type] = attrs.field(factory=dict)

    def installation(self, provider: str, name: str, settings: object) -> Installation[Any]:
        """Build an installation of a provider from settings as in a file.

        Raises:
            SettingsError: no active plugin offers the provider, or the settings are wrong.
        """
        if provider not in self.providers:
            raise SettingsError([Fault("provider", unknown_name(provider, self.providers))])
        return self.providers[provider].installation(name, settings)

    def rule_action(
        self, action: str, installation: Installation[Any], settings: object
    ) -> RuleAction:
        """Build the action of a rule from settings as in a file.

        Raises:
            SettingsError: no active plugin offers the action, the installation is of another
                provider, or the settings are wrong.
        """
        if action not in self.actions:
            raise SettingsError([Fault("use", unknown_name(action, self.actions))])
        found = self.actions[action]
        if found.provider != installation.provider:
            reason = f"is a {installation.provider} installation; {action} needs {found.provider}"
            raise SettingsError([Fault("installation", reason)])
        structured = structure(found.settings, settings)
        faults = found.check(structured, installation)
        if faults:
            raise SettingsError(faults)
        return RuleAction(found, installation, structured)


class RefusedError(Exception):
    """A plugin cannot be used."""

    def __init__(self, plugin: str, reason: str, faults: Iterable[Fault] = ()) -> None:
        self.plugin = plugin
        self.reason = reason
        self.faults = tuple(faults)
        super().__init__(plugin, reason)


class Assembly:
    """Turns one set of imported plugins into `Plugins`."""

    def __init__(
        self, infos: Mapping[str, PluginInfo], settings: Mapping[str, object] | None
    ) -> None:
        self._infos = dict(infos)
        self._given = settings
        self._settings: dict[str, type] = {}
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HostSpec)
        self._manager.hook.hostspec_addhooks.call_historic(kwargs={"pluginmanager": self._manager})
        self._hooks = IsolatedHooks(self._manager)
        self._providers: dict[str, Provider[Any]] = {}
        self._actions: dict[str, AnyAction] = {}

    def run(self, plugins: Mapping[str, object]) -> Plugins:
        """Assemble the plugins.

        Raises:
            RefusedError: one of them cannot be used.
        """
        for info in self._infos.values():
            if info.state is PluginState.DISABLED:
                self._manager.set_blocked(info.name)
        # pluggy calls plugins in reverse order of registration: this way, it calls them in the
        # order of their names, on every machine
        for name in sorted(plugins, reverse=True):
            self._register(name, plugins[name])
        for name in sorted(plugins):
            self._refuse_unknown_hooks(name, plugins[name])
        for name in sorted(plugins):
            self._configure(name)
        self._gather("hostspec_providers", self._add_provider)
        self._gather("hostspec_actions", self._add_action)
        return Plugins(
            infos=tuple(self._infos[name] for name in sorted(self._infos)),
            providers=self._providers,
            actions=self._actions,
            hooks=self._hooks,
            settings=self._settings,
        )

    def _register(self, name: str, plugin: object) -> None:
        if inspect.isclass(plugin):
            raise RefusedError(name, "is a class; register an instance of it")
        marked = tuple(self._marked(plugin))
        if not marked:
            raise RefusedError(name, "implements no hook; mark its functions with hookimpl")
        twin = self._manager.get_name(plugin)
        if twin is not None:
            raise RefusedError(name, f"equals the plugin {twin!r}; each is registered once")
        for hook, options, function in marked:
            unfit = _unfit(options, function)
            if unfit:
                raise RefusedError(name, f"{hook} {unfit}; hooks are plain functions")
        try:
            self._manager.register(plugin, name=name)
        except pluggy.PluginValidationError as error:
            # raised while a plugin adds hooks that another plugin implements wrongly
            guilty = self._manager.get_name(error.plugin) or name
            reason = f"cannot be registered: {' '.join(str(error).split())}"
            raise RefusedError(guilty, reason) from None
        except BaseException as error:  # noqa: BLE001 -- hostspec_addhooks may raise anything
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            described = describe_error(error)
            raiser = str(frame.f_globals.get("__name__"))
            if raiser.startswith("pluggy."):  # its message has no secret
                described = f"was refused: {error}"
            raise RefusedError(name, f"hostspec_addhooks {described}") from None
        hooks = tuple(sorted({hook for hook, _, _ in marked}))
        self._infos[name] = attrs.evolve(self._infos[name], hooks=hooks)

    def _marked(self, plugin: object) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
        """Yield name, options and function of each hook that a plugin implements."""
        for attribute in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, attribute)
            if options is not None:
                yield options.get("specname") or attribute, options, getattr(plugin, attribute)

    def _refuse_unknown_hooks(self, name: str, plugin: object) -> None:
        callers = vars(self._manager.hook)
        known = [hook for hook, caller in callers.items() if caller.has_spec()]
        for hook, options, _ in self._marked(plugin):
            if hook not in known and not options.get("optionalhook"):
                reason = f"implements an unknown hook: {unknown_name(hook, known)}"
                raise RefusedError(name, reason)

    def _configure(self, name: str) -> None:
        declares = self._only(name, "hostspec_settings")
        configures = self._only(name, "hostspec_configure")
        if declares is None and configures is None:
            if self._given and name in self._given:
                raise RefusedError(name, "has no settings", [Fault("", "the plugin has none")])
            return
        if declares is None or configures is None:
            missing = "settings" if declares is None else "configure"
            both = "hostspec_settings and hostspec_configure"
            reason = f"implements only one of {both}; add hostspec_{missing}"
            raise RefusedError(name, reason)
        kind = _value_of("hostspec_settings", declares)
        try:
            json_schema(kind)
        except DeclarationError as error:
            reason = f"hostspec_settings returned no settings class: {error}"
            raise RefusedError(name, reason) from None
        except Exception as error:  # noqa: BLE001 -- a declaration may run anything
            reason = f"hostspec_settings returned a class that {describe_error(error)}"
            raise RefusedError(name, reason) from None
        self._settings[name] = kind
        if self._given is None:
            return
        try:
            settings = structure(kind, self._given.get(name, {}))
        except SettingsError as error:
            raise RefusedError(name, f"has faulty settings: {error}", error.faults) from None
        _value_of("hostspec_configure", configures, settings=settings)

    def _only(self, plugin: str, hook: str) -> pluggy.HookImpl | None:
        found = implementations(self._manager, hook)
        return next((each for each in found if each.plugin_name == plugin), None)

    def _gather(self, hook: str, add: Callable[[str, object], str | None]) -> None:
        for implementation in implementations(self._manager, hook):
            name = implementation.plugin_name
            value = _value_of(hook, implementation, hooks=self._hooks)
            if not isinstance(value, (list, tuple)):
                raise RefusedError(name, f"{hook} did not return a tuple or list")
            for offered in value:
                reason = _check_offer(add, name, offered)
                if reason:
                    raise RefusedError(name, f"{hook}: {reason}")

    def _add_provider(self, plugin: str, provider: object) -> str | None:
        if not isinstance(provider, Provider):
            return f"a {type(provider).__name__} is not a Provider"
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
            return f"a {type(action).__name__} is not an Action"
        if not _is_named(action):
            return f"name and label of a {type(action).__name__} must be text"
        if action.name in self._actions:
            return f"there is an action {action.name!r} already"
        if action.provider not in self._providers:
            return f"action {action.name!r} needs the provider {action.provider!r}"
        if not isinstance(action.capabilities, Capabilities):
            return f"action {action.name!r} has no capabilities"
        json_schema(action.settings)
        self._actions[action.name] = action
        info = self._infos[plugin]
        self._infos[plugin] = attrs.evolve(info, actions=(*info.actions, action.name))
        return None


def _value_of(hook: str, implementation: pluggy.HookImpl, **arguments: object) -> Any:
    """Call one implementation of a hook, which must not fail."""
    answer = ask(implementation, arguments)
    if answer.failure:
        raise RefusedError(answer.plugin, f"{hook} {answer.failure}")
    return answer.value


def _check_offer(
    add: Callable[[str, object], str | None], plugin: str, offered: object
) -> str | None:
    try:
        return add(plugin, offered)
    except DeclarationError as error:
        return f"the settings of the {type(offered).__name__} cannot be used: {error}"
    except BaseException as error:  # noqa: BLE001 -- an attribute may be anything, or missing
        described = describe_error(error)
        if isinstance(error, AttributeError) and error.obj is offered:
            return f"the {type(offered).__name__} is not complete: it has no {error.name!r}"
        return f"the {type(offered).__name__} cannot be used: it {described}"


def _is_named(offered: Provider[Any] | AnyAction) -> bool:
    texts: tuple[object, ...] = (offered.name, offered.label)
    return all(isinstance(text, str) and text.strip() for text in texts)


def _unfit(options: Mapping[str, Any], function: Any) -> str | None:
    if options.get("wrapper") or options.get("hookwrapper"):
        return "is a wrapper"
    if inspect.iscoroutinefunction(function):
        return "is a coroutine function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "is a generator function"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            # pluggy ignores such an argument, and never passes it
            return f"takes {parameter}, which is not a plain argument"
    return None
