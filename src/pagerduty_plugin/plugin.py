"""The plugin: what PagerDuty offers to a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hostspec import AnyAction, Provider, hookimpl
from pagerduty_plugin.change import Change
from pagerduty_plugin.installation import PagerDuty
from pagerduty_plugin.trigger import Trigger


@hookimpl
def hostspec_providers() -> Sequence[Provider[Any]]:
    """Offer the provider ``pagerduty``."""
    return [PagerDuty()]


@hookimpl
def hostspec_actions() -> Sequence[AnyAction]:
    """Offer the actions ``pagerduty.trigger`` and ``pagerduty.change``."""
    return [Trigger(), Change()]
