"""A plugin for measurements: a provider that answers at once, and throttles one destination."""

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
    IncidentRef,
    Operation,
    Outcome,
    OutcomeKind,
    Provider,
    hookimpl,
)
from hostspec.plugins import Rule, load


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


class Send(Action[NoSettings, NoSettings]):
    """Records when it sent each alert.

    Args:
        destination_of: returns the destination of an alert.
        throttled: the destination to which nothing is sent.
        retry_after: seconds that its answers ask for.
    """

    name = "instant.send"
    label = "Send"
    provider = "instant"
    settings = NoSettings
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(
        self, destination_of: Callable[[Alert], str], throttled: str, retry_after: float
    ) -> None:
        self._destination_of = destination_of
        self._throttled = throttled
        self._retry_after = retry_after
        self._moments: dict[str, float] = {}
        self._changed = threading.Condition()

    def plan(self, alert: Any, settings: Any, installation: Any, *, rule: str = "") -> Any:
        ref = IncidentRef(self.name, installation.name, self._destination_of(alert), alert.key)
        return [Delivery(Operation.TRIGGER, ref, alert.identity, alert.severity, rules=(rule,))]

    def send(self, delivery: Delivery, installation: Any, context: Any) -> Outcome:
        if delivery.ref.destination == self._throttled:
            return Outcome(OutcomeKind.THROTTLED, retry_after=self._retry_after)
        with self._changed:
            self._moments[delivery.alert.key] = time.perf_counter()
            self._changed.notify_all()
        return Outcome(OutcomeKind.DELIVERED)

    def wait(self, key: str, timeout: float) -> float:
        """Return when an alert was sent, and forget it; after the timeout, the present moment."""
        with self._changed:
            self._changed.wait_for(lambda: key in self._moments, timeout)
            return self._moments.pop(key, time.perf_counter())

    def wait_count(self, count: int, timeout: float) -> bool:
        """Wait until some number of alerts are sent; return whether in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._moments) >= count, timeout)


class Plugin:
    """Offers the provider and the action, which sends by the scope of alerts."""

    def __init__(
        self,
        destination_of: Callable[[Alert], str] = lambda alert: alert.scope,
        throttled: str = "throttled",
        retry_after: float = 200.0,
    ) -> None:
        self.send = Send(destination_of, throttled, retry_after)

    @hookimpl
    def hostspec_providers(self) -> Sequence[Any]:
        return [Instant()]

    @hookimpl
    def hostspec_actions(self) -> Sequence[Any]:
        return [self.send]


def engine_on(database: Database, plugin: Plugin) -> Engine:
    """Build an engine that sends every alert through the plugin."""
    plugins = load([], own={"instant": plugin})
    account = plugins.installation("instant", "account", {})
    rule = Rule("All", [plugins.rule_action("instant.send", account, {})])
    return Engine(database, plugins, [rule])
