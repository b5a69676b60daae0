"""The incidents that a host without a store remembers, and for how long."""

from __future__ import annotations

import datetime as dt

import attrs
import pytest

from hostspec import (
    Alert,
    Delivery,
    Identity,
    Incident,
    IncidentRef,
    IncidentState,
    Operation,
    Outcome,
    OutcomeKind,
    Severity,
)
from hostspec.inprocess.memory import MOST_INCIDENTS, IncidentMemory

DELIVERED = Outcome(OutcomeKind.DELIVERED)


BEGUN = dt.datetime(2026, 11, 18, 3, tzinfo=dt.UTC)


def delivery(
    key: str, operation: Operation = Operation.TRIGGER, alert: str = "", rule: str = "Pages"
) -> Delivery:
    ref = IncidentRef("pager.page", "acme", "all", key)
    return Delivery(operation, ref, Identity("", alert or key), Severity.ERROR, rules=(rule,))


def opened(
    memory: IncidentMemory, key: str, alert: str = "", outcome: Outcome = DELIVERED
) -> IncidentRef:
    settled = delivery(key, alert=alert)
    memory.record(settled, outcome, arrived=True)
    return settled.ref


def test_arrived_trigger_opens_an_incident() -> None:
    memory = IncidentMemory()

    ref = opened(memory, "disk", outcome=Outcome(OutcomeKind.DELIVERED, handle={"id": 1}))

    assert memory.at(ref) == Incident(
        ref=ref,
        state=IncidentState.TRIGGERED,
        severity=Severity.ERROR,
        handle={"id": 1},
        holders=(Identity("", "disk"),),
        rules=("Pages",),
    )
    assert memory.held_by(Identity("", "disk")) == (memory.at(ref),)


def test_repeated_trigger_extends_the_incident() -> None:
    """Its first handle stays; its severity is that of the last trigger."""
    memory = IncidentMemory()
    ref = opened(memory, "disk", outcome=Outcome(OutcomeKind.DELIVERED, handle={"id": 1}))
    repeat = attrs.evolve(delivery("disk", alert="cpu", rule="More"), severity=Severity.CRITICAL)

    memory.record(repeat, Outcome(OutcomeKind.DELIVERED, handle={"id": 2}), arrived=True)

    assert memory.at(ref) == Incident(
        ref=ref,
        state=IncidentState.TRIGGERED,
        severity=Severity.CRITICAL,
        handle={"id": 1},
        holders=(Identity("", "disk"), Identity("", "cpu")),
        rules=("Pages", "More"),
    )


def test_delivered_acknowledge_changes_the_state() -> None:
    memory = IncidentMemory()
    ref = opened(memory, "disk")

    memory.record(
        delivery("disk", Operation.ACKNOWLEDGE), Outcome(OutcomeKind.FAULTED), arrived=True
    )
    before = memory.at(ref)
    memory.record(delivery("disk", Operation.ACKNOWLEDGE), DELIVERED, arrived=True)
    after = memory.at(ref)

    assert before is not None
    assert before.state is IncidentState.TRIGGERED
    assert after is not None
    assert after.state is IncidentState.ACKNOWLEDGED


@pytest.mark.parametrize("operation", [*Operation][1:])
def test_only_triggers_open_incidents(operation: Operation) -> None:
    memory = IncidentMemory()

    memory.record(delivery("disk", operation), DELIVERED, arrived=True)

    assert memory.at(delivery("disk").ref) is None


def test_resolve_releases_its_own_alert() -> None:
    memory = IncidentMemory()
    ref = opened(memory, "disk", "a")
    memory.join(ref, Identity("", "b"))

    memory.record(delivery("disk", Operation.RESOLVE, "a"), DELIVERED, arrived=True)

    (incident,) = memory.held_by(Identity("", "b"))
    assert incident.holders == (Identity("", "b"),)
    assert memory.held_by(Identity("", "a")) == ()


def test_incident_without_holders_is_forgotten() -> None:
    memory = IncidentMemory()
    ref = opened(memory, "disk")

    memory.release(ref, Identity("", "other"))
    assert memory.at(ref)
    memory.release(ref, Identity("", "disk"))
    memory.release(ref, Identity("", "disk"))

    assert memory.at(ref) is None
    assert memory.held_by(Identity("", "disk")) == ()
    assert (memory._incidents, memory._held) == ({}, {})


def test_joining_opens_nothing() -> None:
    memory = IncidentMemory()

    memory.join(delivery("disk").ref, Identity("", "disk"))

    assert memory.held_by(Identity("", "disk")) == ()


def test_oldest_incident_is_forgotten_beyond_the_bound() -> None:
    memory = IncidentMemory(most=3)
    refs = [opened(memory, key) for key in ("a", "b", "c", "a", "d")]

    assert [memory.at(ref) is not None for ref in refs] == [True, False, True, True, True]
    assert memory.held_by(Identity("", "b")) == ()
    assert len(memory._held) == 3


def test_alert_may_lose_one_incident_to_the_bound() -> None:
    memory = IncidentMemory(most=2)
    for key in ("a", "b", "c"):
        opened(memory, key, "alert")

    held = memory.held_by(Identity("", "alert"))

    assert [incident.ref.correlation_key for incident in held] == ["b", "c"]


def test_default_bound() -> None:
    assert IncidentMemory()._most == MOST_INCIDENTS == 100_000


def test_changed_incident_is_another_object() -> None:
    """This shows whether the incidents of a plan have changed."""
    memory = IncidentMemory()
    ref = opened(memory, "disk")
    before = memory.at(ref)

    assert memory.at(ref) is before
    memory.join(ref, Identity("", "b"))

    assert memory.at(ref) is not before


def test_incident_keeps_its_follow_ups() -> None:
    memory = IncidentMemory()
    quiet = attrs.evolve(delivery("disk"), follow_ups=())
    memory.record(quiet, DELIVERED, arrived=True)
    opening = memory.at(quiet.ref)
    resolving = attrs.evolve(delivery("disk", rule="More"), follow_ups=(Operation.RESOLVE,))
    memory.record(resolving, DELIVERED, arrived=True)
    repeated = memory.at(quiet.ref)

    assert opening is not None
    assert opening.follow_ups == ()
    assert repeated is not None
    assert repeated.follow_ups == (Operation.RESOLVE,)


def test_oldest_ended_episode_is_forgotten() -> None:
    memory = IncidentMemory(most=2)
    for key in ("a", "b", "a", "c"):
        memory.note(Alert(key, status="resolved", started_at=BEGUN))

    assert [memory.is_late_repeat(Alert(key, started_at=BEGUN)) for key in "abc"] == [
        True,
        False,
        True,
    ]
