"""The loaded plugins, the providers and actions that they offer, and rules that use them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from hostspec.action import AnyAction
from hostspec.alert import Alert
from hostspec.errors import Fault
from hostspec.hookspecs import PROJECT, Hooks
from hostspec.provider import Installation, Provider
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
        state: active, disabled or failed.
        reason: why it is not active, for the operator.
        providers: names of the providers it offers.
        actions: names of the actions it offers.
        hooks: names of the hooks it implements.
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


def _always(_alert: Alert) -> bool:
    return True


@attrs.frozen(eq=False)
class Rule:
    """Decides which alerts start which actions.

    Attributes:
        name: unique in a host; deliveries carry it.
        actions: the actions with their settings.
        matches: decides for an alert; by default, every alert matches.
    """

    name: str
    actions: tuple[RuleAction, ...] = attrs.field(converter=_as_tuple)
    matches: Callable[[Alert], bool] = _always


@attrs.frozen(eq=False)
class Plugins:
    """The plugins of a host, with the providers and actions of the active ones.

    Attributes:
        infos: information about every plugin that is installed or enabled, sorted by name.
        providers: the providers, by name.
        actions: the actions, by name.
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
