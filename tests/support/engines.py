"""An engine with a recording pager, and a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pytest
import sqlalchemy as sa
from recorder import IDEMPOTENT, Page, plugins_of, rule_of

from alerthost.outbox import completion, heartbeat, inbox, leasing, results
from alerthost.outbox.admin_rows import DeliveryRow
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.engine import Engine
from alerthost.outbox.maintenance import Patience
from alerthost.outbox.plan_writer import PlannedSubmission
from alerthost.store.database import Database
from hostspec import Alert, Capabilities, Delivery, Outcome, OutcomeKind, Receipt, hookimpl
from hostspec.plugins import Plugins, Rule

START = 1_795_000_000.0

EITHER = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
"""Runs a test on both SQLite and PostgreSQL."""

EITHER_IN_PROOF = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)], indirect=True
)
"""Runs a test on SQLite, and on PostgreSQL only in `make proof`."""

DELIVERED = Outcome(OutcomeKind.DELIVERED)

Outcomes = Mapping[str, OutcomeKind]


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Observer:
    """Records the receipts that it gets."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, Receipt]] = []

    @hookimpl
    def hostspec_delivered(self, receipt: Receipt) -> None:
        self.reported.append(("delivered", receipt))

    @hookimpl
    def hostspec_delayed(self, receipt: Receipt) -> None:
        self.reported.append(("delayed", receipt))

    @hookimpl
    def hostspec_undelivered(self, receipt: Receipt) -> None:
        self.reported.append(("undelivered", receipt))

    @hookimpl
    def hostspec_superseded(self, receipt: Receipt) -> None:
        self.reported.append(("superseded", receipt))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.reported]


class Process(Protocol):
    """The parts of a process that dies, or continues too late."""

    database: Database
    clock: Clock
    engine: Engine


class World:
    """One engine, its pager, and shortcuts for both."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        can: Capabilities = IDEMPOTENT,
        rules: Callable[[Any], Sequence[Rule]] | None = None,
        correlate: Callable[[Alert], str] | None = None,
        **options: Any,
    ) -> None:
        self.database = database
        self.clock = clock
        self.page = Page(can, **({"correlate": correlate} if correlate else {}))
        self.observer = Observer()
        self.plugins = plugins_of(self.page, observer=self.observer)
        self._rules = rules or (lambda plugins: [rule_of(plugins)])
        self._options = {"patience": Patience(keep=1e9), **options}
        self.engine = self.new_engine()

    def plugins_with(self, **own: object) -> Plugins:
        """Load the plugins again, with others beside the pager and the observer."""
        return plugins_of(self.page, observer=self.observer, **own)

    def new_engine(self, **options: Any) -> Engine:
        """Make an engine as after a restart or a reload: on the same database and pager."""
        self.engine = Engine(
            self.database,
            self.plugins,
            self._rules(self.plugins),
            clock=self.clock,
            **{**self._options, **options},
        )
        return self.engine

    def accept(self, key: str, status: str = "firing", **fields: Any) -> str:
        return self.engine.accept(Alert(key, status=status, **fields))

    def fail(self, *outcomes: OutcomeKind | Outcome) -> None:
        self.page.outcomes.extend(outcomes)

    def drain(self, limit: int | None = None) -> list[str]:
        """Drain; return operation and key of each sent delivery."""
        before = len(self.page.sent)
        self.engine.drain(limit)
        return [f"{sent.operation} {sent.key}" for sent in self.page.sent[before:]]

    def advance(self, seconds: float) -> list[str]:
        """Advance the clock, and drain."""
        self.clock.now += seconds
        return self.drain()

    def advance_in_steps(self, seconds: float = 3600.0, step: float = 30.0) -> list[str]:
        """Advance the clock in steps, and drain at each."""
        sent = []
        for _ in range(int(seconds / step)):
            sent += self.advance(step)
        return sent

    @property
    def states(self) -> list[str]:
        """The deliveries' states, from the first on."""
        return [str(each.state) for each in reversed(self.deliveries)]

    @property
    def deliveries(self) -> tuple[DeliveryRow, ...]:
        """All deliveries, the newest first."""
        return self.engine.admin.deliveries(most=10_000)

    def delivery(self, number: int = -1) -> DeliveryRow:
        return tuple(reversed(self.deliveries))[number]

    @property
    def open_keys(self) -> list[str]:
        """The keys of the incidents that the engine holds open."""
        return [case.incident.ref.correlation_key for case in self.engine.admin.incidents()]

    def execute(self, statement: str, **values: object) -> Sequence[Any]:
        """Execute a statement in the database."""
        with self.database.begin() as connection:
            done = connection.execute(sa.text(statement), values)
            return done.all() if done.returns_rows else ()


def lease_as_dead_process(world: Process) -> leasing.Lease:
    """Lease the next delivery as a process that dies, until the attempt may not start."""
    world.engine._dispatcher.plan_ahead()
    gone = heartbeat.presence(world.database)
    with world.database.begin() as connection:
        [lease] = lease_in(world, connection, gone.name)
    gone.leave()
    world.clock.now = lease.start_by + 1
    return lease


def lease_in(world: Process, connection: sa.Connection, worker_id: str) -> Sequence[leasing.Lease]:
    """Lease the next delivery as another worker, in a transaction."""
    return leasing.Leasing(unit_of_work(world, connection), worker_id).lease()


def unit_of_work(world: Process, connection: sa.Connection) -> UnitOfWork:
    """Return a unit of work of the present in a transaction."""
    return UnitOfWork(connection, world.clock.now, world.engine.admin._plugins.actions)


def unwritten_plans(world: Process) -> Sequence[PlannedSubmission]:
    """Plan the pending submissions as a process that has not written the plans yet."""
    with world.database.read() as connection:
        pending = inbox.find_pending(connection, inbox.BATCH, inbox.RoundRobin())
        return world.engine._planner._plan_together(connection, pending, world.clock.now)


def complete_late(world: Process, lease: leasing.Lease, outcome: Outcome = DELIVERED) -> None:
    """Complete a lease that another process has reclaimed."""
    with world.database.begin() as connection:
        arrived = outcome.kind.may_have_arrived
        started_at, at = lease.leased_at, world.clock.now
        ended = results.EndedAttempt(lease, outcome, arrived, (), started_at, at)
        completion.complete(unit_of_work(world, connection), [ended])


def deliver(plan: Callable[[Delivery], object]) -> Callable[[Delivery], Outcome]:
    """Return a behaviour of `send` that calls a function, and delivers."""

    def send(delivery: Delivery) -> Outcome:
        plan(delivery)
        return Outcome(OutcomeKind.DELIVERED)

    return send
