"""The kernel: what a program embeds to load plugins, and to plan and send through them."""

from __future__ import annotations

from hostspec.kernel.host import Host
from hostspec.kernel.loading import load, survey
from hostspec.kernel.planning import Plan
from hostspec.kernel.plugins import PluginInfo, Plugins, PluginsError, PluginState
from hostspec.kernel.report import Report, UndeliveredError
from hostspec.kernel.rules import Rule, RuleAction

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
    "UndeliveredError",
    "load",
    "survey",
]
