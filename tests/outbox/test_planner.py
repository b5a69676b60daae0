"""The order of planning, and the size of batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from engines import EITHER, Clock, World, unwritten_plans
from size import WHOLE

from alerthost.outbox import dispatcher, inbox, plan_writer, planner, proposing, serialisation
from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.snapshot import Snapshot
from alerthost.store.database import Database
from hostspec import Alert, Delivery, IncidentRef, Operation, OutcomeKind, Severity, Status
from hostspec.plugins import planning
from hostspec.plugins.isolation import FAILURES
from hostspec.plugins.planning import Plan


def planned(world: World) -> list[str]:
    """Plan one batch; return the keys of the planned alerts, in the order of planning."""
    made: list[str] = []
    propose = planning.propose

    def record(alert: Alert, rules: Any) -> Any:
        made.append(f"{alert.key} {alert.severity}")
        return propose(alert, rules)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposing, "propose", record)
        world.engine._planner.plan(world.clock.now)
    return made


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a busy machine from ending a batch early."""
    monkeypatch.setattr(planner, "BATCH_SECONDS", float("inf"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make batches of three submissions."""
    monkeypatch.setattr(inbox, "BATCH", 3)


@EITHER
@pytest.mark.usefixtures("small")
def test_a_critical_alert_is_planned_before_a_flood_of_mild_ones(world: World) -> None:
    world.engine.accept_many([Alert(f"{number}", severity="info") for number in range(20)])
    world.engine.accept(Alert("disk", severity="critical"))

    assert "disk critical" in planned(world)


@EITHER
@pytest.mark.usefixtures("small")
def test_an_urgent_submission_brings_earlier_ones_of_its_alert_along(world: World) -> None:
    world.engine.accept_many([Alert(f"{number}", severity="info") for number in range(20)])
    world.engine.accept(Alert("disk", severity="warning"))
    world.engine.accept(Alert("disk", severity="critical"))

    assert planned(world) == ["disk warning", "disk critical", "0 info"]


@EITHER
@pytest.mark.usefixtures("small")
def test_one_batch_is_planned_in_the_order_of_acceptance(world: World) -> None:
    world.engine.accept(Alert("cpu", severity="info"))
    world.engine.accept(Alert("disk", severity="critical"))

    assert planned(world) == ["cpu info", "disk critical"]


@pytest.mark.usefixtures("small")
def test_a_mild_submission_goes_before_an_urgent_one_much_later(world: World) -> None:
    world.engine.accept(Alert("cpu", severity="info"))
    world.clock.now += 901
    world.engine.accept_many([Alert(f"{number}", severity="critical") for number in range(20)])

    assert "cpu info" in planned(world)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make batches of eight submissions; four of them are chosen in turn."""
    monkeypatch.setattr(inbox, "BATCH", 8)


def of_team(alert: Alert) -> Sequence[Delivery]:
    """Page the team that a label names."""
    ref = IncidentRef("pager.page", "acme", alert.labels.get("team", "all"), alert.key)
    return [Delivery(Operation.TRIGGER, ref, alert.identity, alert.severity, {})]


def batches_until(world: World, key: str) -> int:
    """Return how many batches are planned until an alert is planned."""
    for number in range(1, 100):
        if any(each.startswith(f"{key} ") for each in planned(world)):
            return number
    raise AssertionError(key)


@EITHER
@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_an_alert_for_another_service_is_in_the_next_batch(
    world: World, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(dispatcher, "BEHIND", 0.0)
    world.page.behaviour["plan"] = of_team
    for number in range(60):
        world.engine.accept(Alert(f"{number}", labels={"team": "flooded"}))
    world.engine.accept(Alert("disk", labels={"team": "other"}, status=status))

    assert batches_until(world, "disk") == 1


@EITHER
@pytest.mark.usefixtures("eight")
def test_one_large_request_leaves_room_for_others(world: World) -> None:
    world.page.behaviour["plan"] = of_team
    world.engine.accept_many([Alert(f"{n}", labels={"team": "flooded"}) for n in range(60)])
    world.engine.accept_many(
        [Alert(f"calm {n}", labels={"team": "other"}) for n in range(4)]
        + [Alert("disk", labels={"team": "third"})]
    )

    assert batches_until(world, "disk") == 1


@EITHER
@pytest.mark.usefixtures("eight")
def test_scopes_take_turns(world: World) -> None:
    world.engine.accept_many([Alert(f"{number}", scope="flooded") for number in range(60)])
    for name in "abcdef":
        world.engine.accept(Alert("disk", scope=name))
    first = [planned(world).count("disk error") for _ in range(2)]

    assert sum(first) >= 6


@EITHER
@pytest.mark.usefixtures("eight")
def test_a_turn_brings_earlier_submissions_of_its_alert_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "BEHIND", 0.0)
    world.page.behaviour["plan"] = of_team
    for number in range(30):
        world.engine.accept(Alert(f"{number}", labels={"team": "flooded"}))
    world.engine.accept(Alert("disk", labels={"team": "flooded"}, severity="info"))
    world.engine.accept(Alert("disk", labels={"team": "other"}, severity="warning"))
    made = [key for key in planned(world) if key.startswith("disk")]

    assert made == ["disk info", "disk warning"]


@EITHER
@pytest.mark.parametrize("many", [10, 100])
def test_the_next_batch_of_many_alerts_is_found_by_few_queries(world: World, many: int) -> None:
    world.engine.accept_many([Alert(f"{number}") for number in range(2 * many)])
    queries: list[str] = []
    with world.database.read() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *a: queries.append(a[2]))
        found = inbox.find_pending(connection, many, inbox.RoundRobin())

    assert [each.identity.key for each in found] == [f"{number}" for number in range(many)]
    assert len([each for each in queries if each.startswith(("SELECT", "WITH"))]) == 5


def statements_of(world: World, alerts: Sequence[Alert]) -> int:
    """Accept and plan alerts; return the number of SQL statements."""
    world.engine.accept_many(alerts)
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2])

    sa.event.listen(world.database.engine, "before_cursor_execute", note)
    planned = 0
    while planned < len(alerts):
        planned += world.engine._planner.plan(world.clock.now) or 0
    sa.event.remove(world.database.engine, "before_cursor_execute", note)
    return len(seen)


@pytest.mark.sized
def test_queries_for_unmatched_alerts_grow_with_batches(worlds: Callable[..., World]) -> None:
    """300,000 of them, accepted in requests of 5,000, are planned in a minute of CPU."""
    world = worlds(rules=lambda _: [])
    many = 20_000 if WHOLE else 600
    few = statements_of(world, [Alert(f"a{number}") for number in range(many)])
    twice = statements_of(world, [Alert(f"b{number}") for number in range(2 * many)])

    assert few < many / inbox.BATCH * 20
    assert twice < 2.2 * few


@EITHER
@pytest.mark.parametrize("status", ["firing", "acknowledged", "resolved"])
def test_queries_for_a_batch_do_not_grow_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Open incidents are repeated, acknowledged or resolved together."""
    world.new_engine()
    counts = []
    for many in (10, 40):
        firing = [Alert(f"{many} {number}") for number in range(many)]
        world.engine.accept_many(firing)
        world.drain()
        counts.append(statements_of(world, [attrs.evolve(a, status=status) for a in firing]))
        world.drain()

    assert counts[0] == counts[1] < 25


@EITHER
def test_a_new_alert_takes_one_query_more(world: World) -> None:
    """The query asks whether its incident is open."""
    few = statements_of(world, [Alert(f"a{number}") for number in range(4)])
    many = statements_of(world, [Alert(f"b{number}") for number in range(14)])

    assert many - few <= 10


@EITHER
def test_the_load_is_counted_by_scope_and_by_lane(world: World) -> None:
    world.accept("disk")
    world.engine._dispatcher.plan()
    world.accept("disk", scope="a")
    world.accept("cpu", scope="a")

    load = world.engine.admin.load()
    assert list(load.pending.values()) == [2]
    assert load.queued == {("acme", "all"): 1}
    assert world.engine.lanes_of(Alert("disk")) == {("acme", "all")}


def test_a_failure_of_a_plugin_is_counted_once(world: World) -> None:
    """An alert is planned again to learn its lanes, before it is accepted."""
    world.page.behaviour["plan"] = lambda _: 1 / 0
    failure = "pager.page", "plan"
    before = FAILURES.counts().get(failure, 0)

    world.engine.lanes_of(Alert("disk"))
    assert FAILURES.counts().get(failure, 0) == before
    world.accept("disk")
    world.drain()
    assert FAILURES.counts()[failure] == before + 1


def test_large_bodies_are_read_a_few_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialisation, "CHUNK_BYTES", 2500)
    world.engine.accept_many([Alert(f"{number}", summary="x" * 1000) for number in range(3)])
    world.engine.accept(Alert("large", details={"log": "x" * 5000}))

    with world.database.read() as connection:
        assert len(inbox.find_pending(connection, inbox.BATCH, inbox.RoundRobin())) == 1
    batches = [planned(world) for _ in range(4)]
    assert [key for batch in batches for key in batch][-1] == "large error"
    assert all(batches)
    assert world.engine.admin.backlog().pending == 0


def test_a_critical_alert_is_planned_before_large_mild_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialisation, "CHUNK_BYTES", 2500)
    large = [Alert(f"{number}", severity="info", summary="x" * 1000) for number in range(3)]
    world.engine.accept_many([*large, Alert("down", severity="critical")])

    assert planned(world)[0] == "down critical"


def test_many_repeats_of_an_alert_are_planned_in_one_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.engine.accept_many([Alert("disk")] * 100)
    world.engine._planner.plan(world.clock.now)

    assert world.states.count("coalesced") == 99
    assert world.drain() == ["trigger disk"]
    assert world.delivery().coalesced == 99
    assert sorted(world.observer.names) == ["delivered", *["superseded"] * 99]


def test_a_plan_whose_incident_was_closed_is_made_again(world: World) -> None:
    world.accept("disk")
    world.drain()
    world.accept("disk", "resolved")
    world.accept("disk")
    made = unwritten_plans(world)
    world.engine.admin.resolve(1)
    with world.database.begin() as connection:
        assert plan_writer.write_plans(UnitOfWork(connection, world.clock.now, {}), made) == []

    assert world.drain() == ["resolve disk", "trigger disk"]


Story = Sequence[Alert]

KEYS = ("disk", "cpu", "net")


def story(seed: int) -> Story:
    """Make a random story of a few alerts, with shared incidents."""
    dice = random.Random(seed)
    weights = (6, 2, 3)
    return [
        Alert(
            dice.choice(KEYS),
            summary=f"{number}",
            status=dice.choices(tuple(Status), weights)[0],
            severity=dice.choice((Severity.CRITICAL, Severity.INFO)),
        )
        for number in range(dice.randint(2, 12))
    ]


LOOK = {
    "queued": "SELECT submission_id, operation, severity, body, position, is_head, urgency,"
    " accepted_at, coalesced FROM deliveries WHERE state = 'queued'"
    " ORDER BY incident_id, position",
    "finished": "SELECT submission_id, operation, severity, body, state, accepted_at, reason"
    " FROM deliveries WHERE state != 'queued' ORDER BY submission_id, operation, body, state",
    "incidents": "SELECT correlation_key, destination, active, state, severity, rules, follow_ups,"
    " may_be_open, trigger_delivered FROM incidents ORDER BY id",
    "holders": "SELECT incident_id, key FROM holders ORDER BY incident_id, number",
    "alerts": "SELECT scope, key, status, updated_at, seen_at FROM alerts ORDER BY key",
    "submissions": "SELECT submission_id, planned_at, note FROM submissions ORDER BY id",
    "receipts": "SELECT hook, count(*) FROM receipts GROUP BY hook ORDER BY hook",
}


def look(database: Database) -> dict[str, Sequence[Any]]:
    with database.read() as connection:
        return {name: connection.execute(sa.text(query)).all() for name, query in LOOK.items()}


def reported(  # noqa: PLR0913 -- all of them describe the story
    folder: Path,
    course: Story,
    correlate: Callable[[Alert], str],
    *,
    at_once: bool,
    first: int,
    drops: bool,
) -> dict[str, Sequence[Any]]:
    """Plan a story after its first part was delivered; return the stored rows."""
    folder.mkdir()
    with Database("sqlite:///alerthost.db", folder) as database:
        world = World(database, Clock(), correlate=correlate)
        if drops:
            world.page.on_missed = lambda *_: ()  # type: ignore[method-assign]
        accepted = [f"s{number:03}" for number in range(len(course))]
        for name, alert in zip(accepted[:first], course, strict=False):
            world.engine.accept(alert, submission_id=name)
            world.drain()
        for name, alert in zip(accepted[first:], course[first:], strict=True):
            world.engine.accept(alert, submission_id=name)
            if not at_once:
                world.engine._dispatcher.plan()
        while world.engine.admin.backlog().pending:
            world.engine._dispatcher.plan()
        return look(database)


@pytest.mark.parametrize("drops", [False, True], ids=["sends missed", "drops missed"])
@pytest.mark.parametrize("seed", range(16))
def test_a_batch_has_the_result_of_planning_one_by_one(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, drops: bool
) -> None:
    course = story(seed)
    one = (lambda alert: alert.key) if seed % 3 else (lambda _: "same")
    first = seed % 4
    batch, single = (
        reported(tmp_path / name, course, one, at_once=at_once, first=first, drops=drops)
        for name, at_once in (("batch", True), ("single", False))
    )

    assert batch == single


def test_a_resolve_that_a_plugin_plans_for_a_firing_alert_is_sent(world: World) -> None:
    def plan(alert: Alert) -> Sequence[Delivery]:
        return [attrs.evolve(each, operation=Operation.RESOLVE) for each in of_team(alert)]

    world.page.behaviour["plan"] = plan
    world.accept("disk")

    assert world.drain() == ["resolve disk"]
    assert world.open_keys == []


def test_an_alert_fires_again_where_its_trigger_may_have_arrived(world: World) -> None:
    world.fail(OutcomeKind.UNCERTAIN, OutcomeKind.REJECTED)
    world.accept("disk")
    world.advance_in_steps(600)
    world.accept("disk")

    assert world.drain() == ["trigger disk"]
    assert world.delivery().delivery.operation is Operation.TRIGGER


def test_an_ended_incident_is_not_released(world: World) -> None:
    alert = Alert("disk", status=Status.RESOLVED)
    ref = IncidentRef("page.page", "acme", "all", "disk")
    world.database.migrate()
    with world.database.read() as connection:
        planned = Snapshot(connection)
        planned.load_incidents([alert.identity], [ref])
        planned.apply(Plan(alert, (), (), released=(ref,)))
        assert planned.at(ref) is None
