"""A plugin for measurements: a provider in this process, which throttles one destination."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from alerthost.outbox.engine import Engine
from alerthost.store.database import Database
from hostspec import (
    Action,
    Alert,
    Capabilities,
    Delivery,
    DurableAction,
    Incident,
    IncidentRef,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    hookimpl,
)
from hostspec.plugins import Rule, load

THROTTLED = "throttled"
"""The destination to which nothing is sent."""

RETRY_AFTER = 200.0
"""Seconds that it asks for."""


@attrs.frozen
class NoSettings:
    """No settings."""


class Instant(Provider[NoSettings]):
    """A provider without settings."""

    name = "instant"
    label = "Instant"
    settings = NoSettings

    def destinations(self, installation: Any) -> Sequence[Any]:
        return ()


class Send(DurableAction[NoSettings], Action[NoSettings, NoSettings]):
    """Sends by the scope of alerts, and records when.

    Args:
        after: seconds after which the provider answers.
        limited: each destination has a rate limit, which is never reached.
        note: called with the key of each alert that is sent.
    """

    name = "instant.send"
    label = "Send"
    provider = "instant"
    settings = NoSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(
        self, *, after: float = 0.0, limited: bool = False, note: Callable[[str], object] = len
    ) -> None:
        self._after = after
        self._limited = limited
        self._note = note
        self._moments: dict[str, float] = {}
        self._count = 0
        self._changed = threading.Condition()

    def plan(self, alert: Any, settings: Any, installation: Any, *, rule: str = "") -> Any:
        ref = IncidentRef(self.name, installation.name, alert.scope, alert.key)
        return [Delivery(Operation.TRIGGER, ref, alert.identity, alert.severity, rules=(rule,))]

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery:
        return Delivery(Operation.RESOLVE, incident.ref, alert.identity, incident.severity)

    def limits(self, delivery: Delivery, installation: Any, handle: Any = None) -> Sequence[Limit]:
        return [Limit(delivery.ref.destination, 1_000_000, 60.0)] if self._limited else ()

    def send(self, delivery: Delivery, installation: Any, context: Any) -> Outcome:
        if delivery.ref.destination == THROTTLED:
            return Outcome(OutcomeKind.THROTTLED, retry_after=RETRY_AFTER)
        with self._changed:
            self._moments[delivery.alert.key] = time.perf_counter()
            self._count += 1
            self._changed.notify_all()
        self._note(delivery.alert.key)
        if self._after:
            time.sleep(self._after)
        return Outcome(OutcomeKind.DELIVERED)

    def wait(self, key: str) -> float:
        """Return when an alert was sent, and forget it."""
        with self._changed:
            assert self._changed.wait_for(lambda: key in self._moments, 60)
            return self._moments.pop(key)

    def wait_count(self, count: int) -> None:
        """Wait until so many messages are sent."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= count, 600)


class Plugin:
    """Offers the provider and the action, which takes the arguments."""

    def __init__(self, **arguments: Any) -> None:
        self.send = Send(**arguments)

    @hookimpl
    def hostspec_providers(self) -> Sequence[Any]:
        return [Instant()]

    @hookimpl
    def hostspec_actions(self) -> Sequence[Any]:
        return [self.send]


def engine_on(database: Database, plugin: Plugin | None = None, workers: int = 8) -> Engine:
    """Build an engine that sends every alert through the plugin."""
    plugins = load([], own={"instant": plugin or Plugin()})
    account = plugins.installation("instant", "account", {})
    rule = Rule("All", [plugins.rule_action("instant.send", account, {})])
    return Engine(database, plugins, [rule], workers=workers)
