"""What is known of plugins, and what the active ones offer."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from hostspec.action import AnyAction
from hostspec.errors import Fault
from hostspec.hookspecs import PROJECT, Hooks
from hostspec.provider import Installation, Provider
from hostspec.rules import RuleAction
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.text import unknown_name


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
        faults: of its settings, each with the path below them.
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
        settings: classes of the plugins' own settings, by plugin.
    """

    infos: tuple[PluginInfo, ...]
    providers: Mapping[str, Provider[Any]]
    actions: Mapping[str, AnyAction]
    hooks: Hooks
    settings: Mapping[str, type] = attrs.field(factory=dict)

    def installation(self, provider: str, name: str, settings: object) -> Installation[Any]:
        """Make an installation of a provider, from settings as a file would hold them.

        Raises:
            SettingsError: no active plugin offers the provider, or the settings are wrong.
        """
        if provider not in self.providers:
            raise SettingsError([Fault("provider", unknown_name(provider, self.providers))])
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
