"""Plugins: find, load and verify them, and call them in isolation."""

from __future__ import annotations

from hostspec.plugins.loading import load, survey
from hostspec.plugins.planning import Plan
from hostspec.plugins.registry import (
    PluginInfo,
    Plugins,
    PluginsError,
    PluginState,
    Rule,
    RuleAction,
)

__all__ = [
    "Plan",
    "PluginInfo",
    "PluginState",
    "Plugins",
    "PluginsError",
    "Rule",
    "RuleAction",
    "load",
    "survey",
]
