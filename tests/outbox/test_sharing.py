"""Processes on one server do not disturb each other: one test for each guard."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from engines import World, deliver, lease_in, unit_of_work
from recorder import UPDATING
from waiting import wait_until

from alerthost.outbox import (
    backend,
    completion,
    group_commit,
    heartbeat,
    inbox,
    leasing,
    maintenance,
    selection,
)
from alerthost.outbox.admin_rows import AdminError
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.engine import Engine
from alerthost.outbox.group_commit import Writer
from alerthost.outbox.rate_limit_store import RateLimits, load_limits
from alerthost.outbox.results import EndedAttempt, OrphaningLease, Result, UnusedLease
from alerthost.store import postgresql
from alerthost.store.database import Database
from alerthost.store.errors import StoreError, UnstorableError
from hostspec import Alert, Identity, IncidentRef, Limit, Outcome, OutcomeKind

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

DISK = IncidentRef("pager.page", "acme", "all", "disk")
QUEUED = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture(autouse=True)
def _locks_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep sessions that hold locks: a test on a busy machine may hold one for a long time."""
    patient = postgresql._SERVER_SETTINGS.replace(
        "session_timeout = 10000", "session_timeout = 600000"
    )
    assert patient != postgresql._SERVER_SETTINGS
    monkeypatch.setattr(postgresql, "_SERVER_SETTINGS", patient)


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def waits(world: World, running: Future[Any]) -> bool:
    """Return whether a thread waits for a lock, as soon as it does or has ended."""
    while not running.done():
        if world.execute(QUEUED)[0][0]:
            return True
    return False


def test_a_resolve_is_not_seen_before_the_trigger_that_came_first(
    world: World, aside: ThreadPoolExecutor
) -> None:
    with world.database.begin() as connection:
        world.engine.accept(Alert("disk"), connection=connection)
        resolving = aside.submit(world.accept, "disk", "resolved")
        waited = waits(world, resolving)
        reported = world.drain()
    resolving.result()
    world.drain()

    assert world.open_keys == []
    assert [row.status for row in world.execute("SELECT status FROM alerts")] == ["resolved"]
    assert waited
    assert reported == []


def together(engine: Engine, aside: ThreadPoolExecutor, *ids: str) -> list[Future[str]]:
    """Accept submissions of several alerts in one transaction, once all of them wait."""
    submissions = engine._submission_writer
    for _ in range(group_commit.AT_ONCE):
        submissions._slots.acquire()
    running = []
    for number, each in enumerate(ids, start=1):
        running.append(aside.submit(engine.accept, Alert(f"{number}"), submission_id=each))
        wait_until(lambda number=number: len(submissions._open) >= number)
    submissions._slots.release(group_commit.AT_ONCE)
    return running


def accepted(world: World) -> list[str]:
    rows = world.execute("SELECT submission_id FROM submissions ORDER BY submission_id")
    return [row.submission_id for row in rows]


def test_callers_share_a_commit(world: World, aside: ThreadPoolExecutor) -> None:
    world.database.migrate()
    commits: list[object] = []
    sa.event.listen(world.database.engine, "commit", commits.append)

    running = together(world.engine, aside, "a", "b", "c", "a")
    assert [each.result() for each in running] == ["a", "b", "c", "a"]

    assert len(commits) == 1
    assert accepted(world) == ["a", "b", "c"]


def test_a_shared_commit_is_not_seen_before_an_earlier_one(
    world: World, aside: ThreadPoolExecutor
) -> None:
    rows = inbox.build_rows([("first", Alert("disk"))], world.clock.now)
    with world.database.begin() as connection:
        assert inbox.accept_unlocked(connection, rows) == [True]
        resolving = aside.submit(world.accept, "disk", "resolved")
        assert waits(world, resolving)
        with world.database.begin() as other:
            assert inbox.accept_unlocked(other, rows) == [False]
    resolving.result()
    world.drain()
    assert world.open_keys == []
    assert [row.status for row in world.execute("SELECT status FROM alerts")] == ["resolved"]


def test_a_caller_that_waits_for_an_alert_blocks_no_other(
    world: World, aside: ThreadPoolExecutor
) -> None:
    with world.database.begin() as connection:
        world.engine.accept(Alert("1"), connection=connection)
        held, free = together(world.engine, aside, "held", "free")
        assert free.result() == "free"
        assert waits(world, held)
        assert accepted(world) == ["free"]
    held.result()
    assert "held" in accepted(world)


def test_a_failing_caller_rolls_back_no_other(
    world: World, aside: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.outbox.acceptance.check_ids", lambda _: None)
    good, fault, last = together(world.engine, aside, "good", "f\0ault", "last")
    assert (good.result(), last.result()) == ("good", "last")
    with pytest.raises(UnstorableError):
        fault.result()
    assert accepted(world) == ["good", "last"]


def test_an_unreachable_server_fails_all_callers_at_once(
    world: World, aside: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail() -> Any:
        tried.append(1)
        raise StoreError("away")

    monkeypatch.setattr(world.database, "begin", fail)
    for each in together(world.engine, aside, "a", "b", "c"):
        with pytest.raises(StoreError, match="away"):
            each.result()
    assert len(tried) == 1


def test_a_server_that_hangs_up_is_away(world: World) -> None:
    def away(statement: str) -> bool:
        with pytest.raises(StoreError) as raised, world.database.begin() as connection:
            connection.exec_driver_sql(statement)
        return backend.is_unreachable(raised.value)

    assert not away("SELECT 1 / 0")
    assert not away("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
    with Database("postgresql://u@127.0.0.1:1/db", Path()) as nowhere:
        with pytest.raises(StoreError) as raised:
            nowhere.migrate()
        assert backend.is_unreachable(raised.value)


def test_an_interrupted_leader_ends_alone(
    world: World, aside: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = world.engine._submission_writer._write

    def interrupted(_: object) -> None:
        monkeypatch.setattr(world.engine._submission_writer, "_write", write)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.engine._submission_writer, "_write", interrupted)
    first, second = together(world.engine, aside, "first", "second")
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.result() == "second"
    assert world.engine.accept(Alert("3"), submission_id="third") == "third"
    assert accepted(world) == ["second", "third"]


def test_of_several_alerts_each_is_locked_in_the_same_order(
    world: World, aside: ThreadPoolExecutor
) -> None:
    alerts = [Alert(str(number)) for number in range(20)]
    ways = [alerts, alerts[::-1]] * 20
    list(aside.map(world.engine.accept_many, ways))

    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert world.execute(deadlocks) == [(0,)]
    assert world.execute("SELECT count(*) FROM submissions") == [(20 * len(ways),)]


def test_very_many_alerts_are_accepted_at_once(world: World, aside: ThreadPoolExecutor) -> None:
    """The server has room for some thousands of locks."""
    with world.database.begin() as connection:
        world.engine.accept(Alert("7"), connection=connection)
        many = aside.submit(
            world.engine.accept_many, [Alert(str(number)) for number in range(20_000)]
        )
        assert waits(world, many)
        more = aside.submit(world.accept, "elsewhere")
    many.result()
    more.result()

    assert world.execute("SELECT count(*) FROM submissions") == [(20_002,)]


def test_a_locked_incident_is_not_leased(world: World) -> None:
    world.accept("disk")
    world.accept("cpu", severity="info")
    world.engine._dispatcher.plan()
    with world.database.begin() as connection:
        backend.lock(connection, [DISK])
        assert world.drain() == []
    assert world.advance(1) == ["trigger disk", "trigger cpu"]


def test_beside_a_locked_incident_another_one_is_leased(world: World) -> None:
    world.accept("disk")
    world.accept("cpu")
    world.engine._dispatcher.plan()
    with world.database.begin() as connection, world.database.begin() as other:
        backend.lock(connection, [DISK])
        quota = selection.Quota(most=2)
        [lease] = leasing.Leasing(unit_of_work(world, other), "me", quota).lease()
    assert lease.delivery.alert.key == "cpu"


def test_a_lane_locked_by_another_worker_is_skipped(world: World) -> None:
    world.accept("disk")
    world.engine._dispatcher.plan()
    with world.database.begin() as connection:
        assert lease_in(world, connection, "other")
        assert world.drain() == []


def test_a_lane_does_not_sleep_while_a_plan_for_it_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.accept("disk")
    world.drain()
    world.execute("UPDATE lanes SET due = :now", now=world.clock.now)
    record = inbox.record_planned

    def lease_meanwhile(uow: UnitOfWork, notes: Any) -> None:
        with world.database.begin() as connection:
            assert not lease_in(world, connection, "other")
        record(uow, notes)

    world.accept("cpu")
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "record_planned", lease_meanwhile)
        world.engine._dispatcher.plan()
    assert world.drain() == ["trigger cpu"]


def test_a_lease_during_the_count_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fail(OutcomeKind.UNREACHABLE)
    for key in ("disk", "cpu", "memory"):
        world.accept(key)
    world.drain(1)
    world.clock.now += 2
    with world.database.begin() as connection:
        assert lease_in(world, connection, "other")
    # as if the count were of the moment before
    ready = sa.select(leasing.lanes).where(leasing._IS_DUE).limit(sa.bindparam("most"))
    monkeypatch.setattr(leasing, "_READY", ready)

    with world.database.begin() as connection:
        assert not lease_in(world, connection, "me")


def test_all_incidents_of_a_batch_are_locked_before_any_lane(
    world: World, aside: ThreadPoolExecutor
) -> None:
    leases: list[leasing.Lease] = []
    for key in ("disk", "cpu"):
        world.accept(key)
        world.engine._dispatcher.plan()
        with world.database.begin() as connection:
            leases += lease_in(world, connection, "me")
    now, delivered = world.clock.now, Outcome(OutcomeKind.DELIVERED)
    ended = [
        EndedAttempt(leases[0], delivered, arrived=True, limits=(), started_at=now, at=now),
        UnusedLease(leases[1], now),
    ]

    def write() -> None:
        with world.database.begin() as connection:
            completion.complete(unit_of_work(world, connection), ended)

    with world.database.begin() as connection:
        backend.lock(connection, [leases[1].delivery.ref])
        completing = aside.submit(write)
        assert waits(world, completing)
        connection.execute(sa.text("SELECT id FROM lanes FOR UPDATE NOWAIT"))
    completing.result()
    assert world.states == ["delivered", "queued"]


def test_one_process_plans_at_a_time(world: World) -> None:
    world.accept("disk")
    with world.database.begin() as connection:
        assert backend.take_turn(connection, backend.PLANNING)
        assert world.drain() == []
    assert world.drain() == ["trigger disk"]


def test_submissions_that_another_process_left_are_planned(world: World) -> None:
    with world.database.begin() as connection:
        assert backend.take_turn(connection, backend.PLANNING)
        world.engine.start()
        submission_id = world.accept("disk")
        wait_until(lambda: world.engine._dispatcher._others_plan_until)
    (status,) = world.engine.wait([submission_id], 60)
    world.engine.stop()
    assert status.settled


def test_one_process_does_maintenance_at_a_time(world: World) -> None:
    world.fail(OutcomeKind.MISCONFIGURED, OutcomeKind.MISCONFIGURED)
    world.accept("disk")
    world.drain()
    with world.database.begin() as connection:
        assert backend.take_turn(connection, backend.MAINTENANCE)
        world.advance(301)
        assert world.observer.names == []
    world.drain()
    assert "delayed" in world.observer.names


def in_turn(
    world: World, aside: ThreadPoolExecutor, work: Callable[[], Any], meanwhile: Callable[..., Any]
) -> Future[Any]:
    """Change the incident while another transaction, which began first, changes it."""
    with world.database.begin() as connection:
        backend.lock(connection, [DISK])
        running = aside.submit(work)
        assert waits(world, running)
        meanwhile(connection)
    return running


def test_outcomes_wait_for_the_lock_of_the_incident(
    world: World, aside: ThreadPoolExecutor
) -> None:
    world.accept("disk")
    world.engine._dispatcher.plan()
    with world.database.begin() as connection:
        [lease] = lease_in(world, connection, "me")
    delivered = Outcome(OutcomeKind.DELIVERED)
    now = world.clock.now
    results: dict[str, Result] = {
        "complete": EndedAttempt(lease, delivered, arrived=True, limits=(), started_at=now, at=now),
        "orphan": OrphaningLease(lease, now),
        "return": UnusedLease(lease, now),
    }

    def write(how: str) -> None:
        def work(connection: sa.Connection) -> None:
            uow = unit_of_work(world, connection)
            if how in results:
                completion.complete(uow, [results[how]])
            else:
                held = maintenance.held_leases(connection)
                maintenance.reclaim_leases(uow, held, "me")

        Writer(world.database).run(work)

    for how in ("complete", "orphan", "return", "reclaim"):
        world.execute("UPDATE deliveries SET worker_id = 'me'")

        def take(connection: sa.Connection) -> None:
            connection.execute(sa.text("UPDATE deliveries SET worker_id = 'other'"))

        in_turn(world, aside, lambda how=how: write(how), take).result()
        assert world.execute("SELECT worker_id, state FROM deliveries") == [("other", "queued")]


def test_a_plan_waits_for_the_lock_of_the_incident(world: World, aside: ThreadPoolExecutor) -> None:
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")

    def release(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE incidents SET version = version + 1, rules = '[]'"))

    planning = in_turn(world, aside, world.engine._dispatcher.plan, release)
    assert planning.result() == 0  # the plan is outdated
    assert world.drain() == ["resolve disk"]


def test_the_operator_waits_for_the_lock_of_the_incident(
    world: World, aside: ThreadPoolExecutor
) -> None:
    world.fail(OutcomeKind.REJECTED)
    world.accept("disk")
    world.drain()
    admin, number = world.engine.admin, world.delivery().id

    def finish(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE deliveries SET state = 'coalesced'"))

    replaying = in_turn(world, aside, lambda: admin.replay(number), finish)
    with pytest.raises(AdminError, match="it is coalesced"):
        replaying.result()

    world.accept("disk")
    world.drain()
    (row,) = admin.incidents()

    def close(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE incidents SET active = false"))

    resolving = in_turn(world, aside, lambda: admin.resolve(row.id), close)
    with pytest.raises(AdminError, match="no open incident"):
        resolving.result()


def test_a_submission_about_an_old_incident_keeps_it(
    world: World, aside: ThreadPoolExecutor
) -> None:
    world.accept("disk")
    world.drain()

    def forget() -> int:
        now = world.clock.now
        return Writer(world.database).run(
            lambda c: maintenance.forget(UnitOfWork(c, now, {}), now + 1, 10)
        )

    def touch(connection: sa.Connection) -> None:
        later = {"now": world.clock.now + 10}
        connection.execute(sa.text("UPDATE incidents SET changed_at = :now"), later)

    assert in_turn(world, aside, forget, touch).result() == 0
    assert world.open_keys == ["disk"]


def test_a_submission_about_an_old_alert_keeps_it(world: World, aside: ThreadPoolExecutor) -> None:
    world.accept("disk", "resolved")
    world.drain()

    def prune() -> int:
        return Writer(world.database).run(lambda c: maintenance.prune(c, world.clock.now + 1, 10))

    with world.database.begin() as connection:
        later = {"now": world.clock.now + 10}
        connection.execute(sa.text("UPDATE alerts SET seen_at = :now"), later)
        pruning = aside.submit(prune)
        assert waits(world, pruning)
    pruning.result()
    assert world.execute("SELECT count(*) FROM alerts") == [(1,)]


def test_the_last_message_of_a_budget_is_taken_once(
    world: World, aside: ThreadPoolExecutor
) -> None:
    limit, now = Limit("key", 2, 60.0), world.clock.now
    with world.database.begin() as connection:
        load_limits(connection, [limit]).save()

    def take() -> bool:
        with world.database.begin() as connection:
            limits = RateLimits(connection)
            limits.load(["key", "none"])
            free = limits.free_at(["key", "none"], now, urgent=True) <= now
            limits.take(["key", "none"], now, urgent=True)
            limits.save()
            return free

    with world.database.begin() as connection:
        limits = RateLimits(connection)
        limits.load(["key"])
        other = aside.submit(take)
        assert waits(world, other)
        limits.take(["key"], now, urgent=True)
        limits.save()
    assert not other.result()


def test_a_new_budget_counts_all_concurrent_attempts(
    world: World, aside: ThreadPoolExecutor
) -> None:
    limit, now = Limit("key", 100, 60.0), world.clock.now
    barrier = threading.Barrier(8)

    def learn(_: int) -> None:
        with world.database.begin() as connection:
            connection.execute(sa.text("SELECT 1"))
            barrier.wait(60)
            limits = load_limits(connection, [limit])
            limits.record_attempt([limit], now, urgent=True, taken=(), taken_at=now)
            limits.save()

    world.database.migrate()
    list(aside.map(learn, range(8)))
    [(used,)] = world.execute("SELECT used FROM budgets")
    assert list(json.loads(used).values()) == [[8, 0]]


def test_a_deadlock_is_retried(world: World, aside: ThreadPoolExecutor) -> None:
    barrier = threading.Barrier(2, timeout=60)
    ran: list[str] = []

    def crossing(first: str, second: str) -> Callable[[sa.Connection], str]:
        def work(connection: sa.Connection) -> str:
            ran.append(first)
            backend.lock(connection, [Identity("", first)])
            if len(ran) <= 2:
                barrier.wait()
            backend.lock(connection, [Identity("", second)])
            return first

        return work

    writer = Writer(world.database)
    ways = [crossing("a", "b"), crossing("b", "a")]
    assert list(aside.map(writer.run, ways)) == ["a", "b"]
    assert len(ran) == 3


def test_a_transaction_that_always_conflicts_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PAUSE", 0.0)
    ran = []

    def work(connection: sa.Connection) -> None:
        ran.append(1)
        connection.exec_driver_sql("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")

    with pytest.raises(StoreError):
        Writer(world.database).run(work)
    assert len(ran) == group_commit.TRIES


def test_a_failing_job_is_not_retried(world: World) -> None:
    ran = []

    def work(connection: sa.Connection) -> None:
        ran.append(1)
        connection.exec_driver_sql("SELECT 1 / 0")

    with pytest.raises(UnstorableError):
        Writer(world.database).run(work)
    assert ran == [1]


def test_engines_use_the_clock_of_the_server(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    engine = Engine(database, world.plugins, [])
    engine.accept(Alert("disk"))
    query = "SELECT abs(accepted_at - extract(epoch FROM now())) FROM submissions"
    assert world.execute(query)[0][0] < 60


def test_the_clock_continues_while_the_server_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed = 1000.0
    monkeypatch.setattr(backend, "_elapsed", lambda: elapsed)
    clock = backend.ServerClock(database)
    first = clock()
    elapsed += 5
    assert clock() == first + 5
    elapsed += 3600  # stopped, and woken
    asked = clock()
    assert first <= asked < first + 60

    def fail(*_: Any) -> Any:
        raise StoreError("away")

    monkeypatch.setattr(database, "read", fail)
    elapsed += 20
    assert clock() == asked + 20
    with pytest.raises(StoreError, match="away"):
        backend.ServerClock(database)()


def test_a_lost_session_does_not_give_up_a_ticket(worlds: Callable[..., World]) -> None:
    world = worlds(can=UPDATING)
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def lose_everything(_: object) -> None:
        session = world.engine._registration.current
        assert session
        with world.database.read() as connection:
            connection.execute(cut)
        world.clock.now += 30  # too late to start the attempt
        world.engine._maintenance.run(session.name)

    world.page.behaviour["send"] = deliver(lose_everything)
    world.accept("disk")
    assert world.drain() == ["trigger disk"]
    assert world.states == ["delivered"]


def test_a_lease_of_a_lost_session_is_kept_until_it_may_not_start(world: World) -> None:
    world.accept("disk")
    world.engine._dispatcher.plan()
    lost = heartbeat.presence(world.database)
    with world.database.begin() as connection:
        [lease] = lease_in(world, connection, lost.name)
    lost.leave()
    assert world.drain() == []
    world.clock.now = lease.start_by
    assert world.drain() == []
    world.clock.now += 1
    assert world.drain() == ["trigger disk"]


def test_a_lease_without_an_attempt_is_reclaimed(world: World) -> None:
    """The server failed during the lease: it is committed, and no worker holds it."""
    world.accept("disk")
    with world.engine._registration.registered() as name:
        world.engine._dispatcher.plan()
        with world.database.begin() as connection:
            [lease] = lease_in(world, connection, name)
        assert world.drain() == []
        world.clock.now = lease.start_by + 1
        assert world.drain() == ["trigger disk"]
