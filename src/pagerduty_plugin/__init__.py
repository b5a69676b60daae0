"""Connects any host that implements `hostspec` to PagerDuty."""

from __future__ import annotations

from pagerduty_plugin.hookspecs import Enrich, Suppress

__all__ = ["Enrich", "Suppress"]
