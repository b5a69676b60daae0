"""Deliveries of one alert to the same incident are merged."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostspec import Delivery, Identity, IncidentRef, Operation, Repair, Severity
from hostspec.plugins.planning import merge

CHECKOUT = IncidentRef("pagerduty.trigger", "acme", "checkout", "db-1/disk")
PLATFORM = IncidentRef("pagerduty.trigger", "acme", "platform", "db-1/disk")


def delivery(
    ref: IncidentRef = CHECKOUT,
    severity: Severity = Severity.ERROR,
    text: str = "",
    rules: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Delivery:
    return Delivery(
        Operation.TRIGGER,
        ref,
        Identity("", "db-1/disk"),
        severity,
        {"text": text},
        rules,
        (Repair("text", text),),
        notes,
    )


def test_no_deliveries_merge_to_none() -> None:
    assert merge([]) == ()


def test_single_delivery_is_unchanged() -> None:
    alone = delivery(rules=("r",), notes=("n",))
    assert merge([alone]) == (alone,)


def test_worst_severity_wins_and_rules_and_notes_are_joined() -> None:
    mild = delivery(severity=Severity.WARNING, text="mild", rules=("a", "b"), notes=("x",))
    worst = delivery(severity=Severity.CRITICAL, text="worst", rules=("b", "c"), notes=("y", "x"))
    (merged,) = merge(iter([mild, worst]))
    assert merged.severity is Severity.CRITICAL
    assert merged.message == {"text": "worst"}
    assert merged.repairs == (Repair("text", "worst"),)
    assert merged.rules == ("a", "b", "c")
    assert merged.notes == ("x", "y")


def test_severities_are_compared_by_rank() -> None:
    """As texts, "warning" comes after "critical"."""
    (merged,) = merge([delivery(severity=severity) for severity in Severity])
    assert merged.severity is Severity.CRITICAL


def test_first_of_equal_severities_wins() -> None:
    (merged,) = merge([delivery(text="first"), delivery(text="second")])
    assert merged.message == {"text": "first"}


@pytest.mark.parametrize(
    "other",
    [
        IncidentRef("other.action", "acme", "checkout", "db-1/disk"),
        IncidentRef("pagerduty.trigger", "other", "checkout", "db-1/disk"),
        PLATFORM,
        IncidentRef("pagerduty.trigger", "acme", "checkout", "other"),
    ],
)
def test_different_incidents_stay_apart(other: IncidentRef) -> None:
    both = (delivery(), delivery(other))
    assert merge(both) == both


def test_incidents_keep_their_order() -> None:
    merged = merge([delivery(PLATFORM), delivery(CHECKOUT), delivery(PLATFORM)])
    assert [one.ref for one in merged] == [PLATFORM, CHECKOUT]


@given(
    st.lists(
        st.builds(
            delivery,
            st.sampled_from([CHECKOUT, PLATFORM]),
            st.sampled_from(Severity),
            st.text(max_size=2),
            st.lists(st.sampled_from("abc"), max_size=3).map(tuple),
            st.lists(st.sampled_from("xy"), max_size=3).map(tuple),
        )
    )
)
def test_each_incident_has_one_delivery_with_every_rule(deliveries: list[Delivery]) -> None:
    merged = merge(deliveries)
    assert {one.ref for one in merged} == {one.ref for one in deliveries}
    assert len({one.ref for one in merged}) == len(merged)
    for one in merged:
        together = [other for other in deliveries if other.ref == one.ref]
        assert one.severity.rank == max(other.severity.rank for other in together)
        assert set(one.rules) == {rule for other in together for rule in other.rules}
        assert set(one.notes) == {note for other in together for note in other.notes}
    assert {one.ref: set(one.rules) for one in merge(merged)} == {
        one.ref: set(one.rules) for one in merged
    }


def test_follow_ups_of_all_are_allowed() -> None:
    one = attrs.evolve(delivery(), follow_ups=(Operation.ACKNOWLEDGE,))
    other = attrs.evolve(delivery(), follow_ups=(Operation.RESOLVE, Operation.ACKNOWLEDGE))
    (merged,) = merge([one, other])
    assert merged.follow_ups == (Operation.ACKNOWLEDGE, Operation.RESOLVE)
