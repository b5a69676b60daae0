"""The kernel: what a program embeds to load plugins, and to plan and send through them."""

from __future__ import annotations

from hostspec.kernel.host import Host, Plan, Report, Rule, RuleAction
from hostspec.kernel.loading import (
    PluginInfo,
    Plugins,
    PluginsError,
    PluginState,
    load,
    survey,
)

__all__ = [
    "Host",
    "Plan",
    "PluginInfo",
    "PluginState",
    "Plugins",
    "PluginsError",
    "Report",
    "Rule",
    "RuleAction",
    "load",
    "survey",
]
