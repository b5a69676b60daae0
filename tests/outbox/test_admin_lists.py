"""The lists that pages are made of, on both databases: page by page, and counted by minute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engines import EITHER, START, World
from recorder import SILENT

from alerthost.outbox.activity import LONGEST_TEXT, Actor, Change
from alerthost.outbox.admin_lists import DeliveryFilter, IncidentFilter
from alerthost.outbox.admin_rows import AdminError
from alerthost.outbox.admin_services import MINUTES
from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.outbox.submission import SubmissionOutcome
from hostspec import OutcomeKind, Severity

OPERATOR = Actor("operator", "127.0.0.1")
PAGER = ("acme", "all")


def service_of(world: World) -> tuple[str, str]:
    ref = world.delivery().delivery.ref
    return ref.installation, ref.destination


@EITHER
def test_messages_are_counted_by_the_minute_in_which_they_were_accepted(world: World) -> None:
    for after in (0.0, 59.0, 2.0, 60.0, 30.0):
        world.clock.now += after
        world.accept(f"disk-{world.clock.now}")
        world.drain()
    (service,) = world.engine.admin.lists.services()
    assert service.sent[-3:] == (1, 2, 2)
    assert sum(service.sent[:-3]) == 0
    assert len(service.sent) == MINUTES
    assert (service.state, service.queued, service.oldest) == (LaneState.HEALTHY, 0, None)

    world.clock.now += 3600.0
    (service,) = world.engine.admin.lists.services()
    assert sum(service.sent) == 0


@EITHER
def test_a_failing_service_has_its_reason_and_what_is_queued(world: World) -> None:
    world.database.migrate()
    assert world.engine.admin.lists.services() == ()
    world.fail(OutcomeKind.MISCONFIGURED)
    world.accept("disk")
    world.drain()
    (service,) = world.engine.admin.lists.services()
    assert (service.state, service.since, service.queued, service.oldest) == (
        LaneState.BLOCKED,
        START,
        1,
        START,
    )


@EITHER
def test_a_service_recovers_when_its_last_failing_delivery_is_gone(world: World) -> None:
    world.fail(OutcomeKind.MISCONFIGURED)
    world.accept("disk")
    world.drain()
    world.engine.admin.discard_delivery(world.delivery().id)
    (service,) = world.engine.admin.lists.services()
    assert (service.state, service.reason, service.queued) == (LaneState.HEALTHY, "", 0)


@EITHER
def test_lists_are_read_page_by_page(world: World) -> None:
    lists = world.engine.admin.lists
    for number in range(5):
        world.accept(f"disk-{number}", severity="error", summary=f"Disk {number} at 100_%")
        world.clock.now += 1
        world.drain()
    world.accept("disk-4", "resolved")
    world.drain()

    open_now = IncidentFilter()
    first = lists.incidents(open_now, None, 3)
    assert [row.summary for row in first.rows] == [f"Disk {n} at 100_%" for n in (3, 2, 1)]
    assert [row.summary for row in lists.incidents(open_now, first.after, 3).rows] == [
        "Disk 0 at 100_%"
    ]
    assert lists.incidents(open_now, 10**9, 3) == first
    assert lists.open_incidents() == 4
    for which, count in (
        (IncidentFilter(active=False), 1),
        (IncidentFilter(orphaned=True), 0),
        (IncidentFilter(severity=Severity.ERROR), 4),
        (IncidentFilter(severity=Severity.INFO), 0),
        (IncidentFilter(service=service_of(world)), 4),
        (IncidentFilter(service=("acme", "none")), 0),
        (IncidentFilter(text="DISK-2"), 1),
        (IncidentFilter(text="disk 2 AT"), 1),
        (IncidentFilter(text="0_%"), 4),
        (IncidentFilter(text="0__"), 0),
    ):
        assert len(lists.incidents(which, None, 50).rows) == count, which

    for selected, count in (
        (DeliveryFilter(), 6),
        (DeliveryFilter(DeliveryState.DELIVERED), 6),
        (DeliveryFilter(service=service_of(world)), 6),
        (DeliveryFilter(DeliveryState.DELIVERED, service=service_of(world)), 6),
        (DeliveryFilter(DeliveryState.DEAD, service=service_of(world)), 0),
        (DeliveryFilter(DeliveryState.QUEUED, blocked=True), 0),
        (DeliveryFilter(upto=2), 2),
        (DeliveryFilter(service=("acme", "none")), 0),
    ):
        page = lists.deliveries(selected, None, 4)
        found = [row.id for row in page.rows]
        while page.after:
            page = lists.deliveries(selected, page.after, 4)
            found += [row.id for row in page.rows]
        assert found == sorted(set(found), reverse=True)
        assert len(found) == count == lists.count(selected), selected
        assert list(lists.numbers(selected, 0, 50)) == sorted(found)
    assert list(lists.numbers(DeliveryFilter(), 2, 2)) == [3, 4]
    assert lists.last_delivery() == 6

    submissions = lists.submissions(None, None, 4)
    assert [row.alert.key for row in submissions.rows] == ["disk-4", "disk-4", "disk-3", "disk-2"]
    assert [len(row.deliveries) for row in submissions.rows] == [1] * 4
    assert len(lists.submissions(None, submissions.after, 4).rows) == 2
    assert lists.submissions(SubmissionOutcome.FAILED, None, 4).rows == ()

    history = lists.history(
        lists.incidents(IncidentFilter(active=False), None, 1).rows[0].id, None, 1
    )
    assert [str(row.delivery.operation) for row in history.rows] == ["resolve"]
    assert lists.incident(10**9) is None


@EITHER
def test_marker_differs_after_each_change(world: World) -> None:
    admin = world.engine.admin
    world.database.migrate()
    seen = [admin.lists.marker()]
    for change in (
        lambda: world.accept("disk"),
        world.drain,
        lambda: admin.resolve(1, by=OPERATOR),
        lambda: world.fail(OutcomeKind.MISCONFIGURED) or world.drain(),
        lambda: world.advance(120.0),
    ):
        change()
        seen.append(admin.lists.marker())
        assert admin.lists.marker() == seen[-1]
    assert len(set(seen)) == len(seen)


@EITHER
def test_changes_are_recorded_with_the_state_before_and_after(world: World) -> None:
    admin = world.engine.admin
    world.accept("disk")
    world.drain()
    admin.acknowledge(1, by=OPERATOR)
    assert world.drain() == ["acknowledge disk"]
    admin.resolve(1, by=OPERATOR)
    world.fail(OutcomeKind.REJECTED)
    assert world.drain() == ["resolve disk"]
    number = world.delivery().id
    admin.replay(number, by=OPERATOR)
    admin.discard_delivery(world.delivery().id, by=OPERATOR)
    world.accept("cpu")
    world.drain()
    admin.forget(admin.lists.incidents(IncidentFilter(), None, 1).rows[0].id, by=OPERATOR)
    admin.record(OPERATOR, Change("tested", "x" * 2 * LONGEST_TEXT, "\0", ""))

    page = admin.lists.activity(None, 4)
    entries = [each.change for each in page.rows]
    assert entries[0] == Change("tested", f"{'x' * LONGEST_TEXT}…", "\ufffd", "")
    assert [each.verb for each in entries[1:]] == ["forgot", "discarded", "replayed"]
    assert [each.change for each in admin.lists.activity(page.after, 4).rows] == [
        Change("resolved", "incident 1", "acknowledged", "resolve queued"),
        Change("acknowledged", "incident 1", "triggered", "acknowledge queued"),
    ]
    assert {each.actor for each in page.rows} == {OPERATOR}
    assert page.rows[0].at == START


def test_nothing_is_recorded_without_an_actor(world: World) -> None:
    world.accept("disk")
    world.drain()
    world.engine.admin.resolve(1)
    assert world.engine.admin.lists.activity(None, 50).rows == ()


def test_an_action_that_cannot_acknowledge_is_an_error(
    worlds: Callable[..., World], world: World
) -> None:
    with pytest.raises(AdminError, match=r"^there is no open incident 1$"):
        world.engine.admin.acknowledge(1)
    silent = worlds(can=SILENT)
    silent.accept("disk")
    silent.drain()
    (row,) = silent.engine.admin.incidents()
    with pytest.raises(AdminError, match=r"^the action pager\.page cannot acknowledge$"):
        silent.engine.admin.acknowledge(row.id)
