"""The entry point: what the plugin offers to a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hostspec import AnyAction, Hooks, Provider, hookimpl
from pagerduty_plugin.change import Change
from pagerduty_plugin.hookspecs import PagerDutySpec
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.trigger import Trigger

if TYPE_CHECKING:
    import pluggy


@hookimpl
def hostspec_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Register the hooks for other plugins."""
    pluginmanager.add_hookspecs(PagerDutySpec)


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    """Return the provider ``pagerduty``."""
    return [PagerDuty()]


@hookimpl
def hostspec_actions(hooks: Hooks) -> Sequence[AnyAction]:
    """Return the actions ``pagerduty.trigger`` and ``pagerduty.change``."""
    return [Trigger(hooks=hooks), Change()]
