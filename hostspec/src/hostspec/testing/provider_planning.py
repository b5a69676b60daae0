"""Provider checks: `plan`, `follow_up` and `on_missed` are pure, complete and storable."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import attrs

from hostspec.action import as_durable
from hostspec.alert import Alert, Severity, Status
from hostspec.connect import PendingInstall
from hostspec.delivery import Delivery, Incident, IncidentRef, Operation, Outcome
from hostspec.testing.provider_case import ActionUnderTest, ProviderCase, incident_of
from hostspec.testing.support import (
    INSTALLATION,
    RULE,
    fail,
    firing,
    later,
    require,
    require_pure,
    sample_alerts,
)
from hostspec.values import from_json, to_json

T = TypeVar("T")

_HANDLE: Final = {"conformance": "handle"}


def check_every_alert_is_planned(case: ProviderCase) -> None:
    """Every alert of any shape is planned, as deliveries of the action itself."""
    tested = case.connect()
    for alert in sample_alerts():
        planned: object = _call("plan", alert, functools.partial(tested.plan, alert))
        for delivery in planned if isinstance(planned, list) else ():
            if not isinstance(delivery, Delivery):
                fail(f"plan() returned a {type(delivery).__name__}; return deliveries")
            ref = delivery.ref
            require(
                (ref.action, ref.installation) == (tested.action.name, INSTALLATION)
                and delivery.alert == alert.identity,
                f"plan() returned a delivery to {ref} about {delivery.alert}; take the names and "
                "the alert's identity from the arguments of plan()",
            )
            require(
                RULE in delivery.rules,
                "plan() returned a delivery without the rule's name; put `rule` into its rules",
            )
        if alert.status is Status.FIRING:
            require(
                [each for each in tested.plan(alert) if each.operation is Operation.TRIGGER],
                f"plan() triggers nothing for the firing alert {alert.key[:40]!r}, so that it "
                "notifies no one",
            )


def check_plan_is_pure(case: ProviderCase) -> None:
    """`plan` only returns deliveries, the same for the same arguments."""
    tested = case.connect()
    before = [to_json(alert) for alert in sample_alerts()], repr(tested.settings)
    alerts = sample_alerts()
    for alert in _plannable(tested, alerts):
        require_pure("plan", functools.partial(tested.plan, alert))
    require(
        before == ([to_json(alert) for alert in alerts], repr(tested.settings)),
        "plan() changed the alert or the settings; change a copy",
    )


def check_follow_up_is_pure(case: ProviderCase) -> None:
    """`follow_up` only returns a delivery, the same for the same arguments."""
    tested = case.connect()
    incident = incident_of(tested.plan_trigger(firing("conformance/pure")), _HANDLE)
    for alert in later("conformance/pure"):
        before = (to_json(incident), to_json(alert))
        require_pure("follow_up", functools.partial(tested.action.follow_up, incident, alert))
        require(
            before == (to_json(incident), to_json(alert)),
            "follow_up() changed the incident or the alert; change a copy",
        )


def check_correlation(case: ProviderCase) -> None:
    """Two problems have two incidents; one problem with other words has one."""
    tested = case.connect()
    ref = tested.plan_trigger(firing("conformance/one")).ref
    for other in (firing("conformance/two"), firing("conformance/one", scope="tenant")):
        require(
            tested.plan_trigger(other).ref != ref,
            "two problems (another key, or another scope) share one incident, so that one would "
            "close the other's; make the correlation key from key and scope",
        )
    reworded = Alert("conformance/one", "Said otherwise", severity=Severity.INFO)
    require(
        tested.plan_trigger(reworded).ref == ref,
        "one problem in other words has another incident, so that the first would never close; "
        "make the correlation key from the alert's key and scope alone",
    )


def check_follow_ups(case: ProviderCase) -> None:
    """An action follows up on the incident, in exactly the ways that it declares."""
    tested = case.connect()
    can = tested.action.capabilities
    incident = incident_of(tested.plan_trigger(firing("conformance/later")), _HANDLE)
    for alert, operation, declared in zip(
        later("conformance/later"),
        (Operation.UPDATE, Operation.ACKNOWLEDGE, Operation.RESOLVE),
        (can.update, can.acknowledge, can.resolve),
        strict=True,
    ):
        followed = _call(
            "follow_up", alert, functools.partial(tested.action.follow_up, incident, alert)
        )
        does = followed is not None and followed.operation is operation
        require(
            does or not declared,
            f"the capabilities declare {operation}, but follow_up() returns none for an alert "
            f"that is {alert.status}; return a delivery, or do not declare {operation}",
        )
        require(
            followed is None or (declared and does),
            f"follow_up() returns a delivery that the capabilities do not declare for an alert "
            f"that is {alert.status}; declare {operation}, or return None",
        )
        require(
            followed is None or followed.ref == incident.ref,
            "follow_up() returns a delivery to another incident, so that this one stays open; "
            "use incident.ref",
        )


def check_on_missed(case: ProviderCase) -> None:
    """Deliveries for a problem that ended before its trigger was sent close each incident."""
    tested = case.connect()
    action = tested.action
    opening = tested.plan_trigger(firing("conformance/missed"))
    *_, resolved = later("conformance/missed")
    closing = action.follow_up(incident_of(opening), resolved)
    if closing is None:
        return
    closing = attrs.evolve(closing, ref=opening.ref)
    deliveries: object = require_pure(
        "on_missed", functools.partial(as_durable(action).on_missed, opening, closing)
    )
    if not isinstance(deliveries, Sequence) or not all(
        isinstance(each, Delivery) for each in deliveries
    ):
        fail("on_missed() returned something else than a list of deliveries")
    is_open: set[IncidentRef] = set()
    for delivery in deliveries:
        require(
            delivery.alert in (opening.alert, closing.alert),
            f"on_missed() returned a delivery about {delivery.alert}; use the opening's alert",
        )
        if delivery.ref.action == action.name and delivery.operation is Operation.TRIGGER:
            is_open.add(delivery.ref)
        elif delivery.operation is Operation.RESOLVE:
            is_open.discard(delivery.ref)
    require(
        not is_open,
        "on_missed() opens an incident that it does not close, though the problem is over; "
        "return the closing after the opening, or neither",
    )


def check_follow_ups_after_restart(case: ProviderCase) -> None:
    """After a restart, follow-ups need nothing but the stored incident."""
    tested = case.connect()
    incident = incident_of(tested.plan_trigger(firing("conformance/stored")), _HANDLE)
    stored = from_json(Incident, _through_text(to_json(incident)))
    for alert in later("conformance/stored"):
        before = tested.action.follow_up(incident, alert)
        after = case.connect().action.follow_up(stored, alert)
        require(
            before == after,
            "follow_up() returns another delivery after a restart, from the stored incident; "
            "keep its data in the handle, and nothing in the action",
        )


def check_json_round_trips(case: ProviderCase) -> None:
    """Installations, deliveries and outcomes survive JSON."""
    tested = case.connect()
    installation = tested.installation
    stored = _through_text(to_json(installation))
    require(
        tested.provider.installation(stored["name"], stored["settings"]) == installation,
        "the installation differs after a round trip through JSON; let its settings class be a "
        "plain attrs class, and let installation() change nothing",
    )
    for alert in _plannable(tested, sample_alerts()):
        for delivery in tested.plan(alert):
            require_round_trip(delivery, "delivery")
    with case.connected(case.service()) as (at_service, _):
        outcome = case.send(at_service, at_service.plan_trigger(firing("conformance/stored")))
        require_round_trip(outcome, "outcome")


def _plannable(tested: ActionUnderTest, alerts: Iterable[Alert]) -> list[Alert]:
    """Return the alerts that can be planned; `check_every_alert_is_planned` reports others."""
    plannable = []
    for alert in alerts:
        with contextlib.suppress(Exception):
            tested.plan(alert)
            plannable.append(alert)
    return plannable


def require_round_trip(value: Delivery | Outcome | PendingInstall, name: str) -> None:
    """Require that a value survives JSON."""
    try:
        back = from_json(type(value), _through_text(to_json(value)))
    except (TypeError, ValueError, RecursionError) as error:
        fail(f"the {name} is not JSON: {error}; put plain JSON into message, handle and settings")
    require(
        back == value,
        f"the {name} differs after a round trip through JSON; put plain JSON into message, handle "
        "and settings: text, finite numbers, lists, and objects whose keys are text",
    )


def _through_text(stored: object) -> Any:
    return json.loads(json.dumps(stored, allow_nan=False))


def _call(name: str, alert: Alert, call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 -- it is reported
        fail(
            f"{name}() raised {type(error).__name__} for the {alert.status} alert "
            f"{alert.key[:40]!r}: {error}; repair a malformed alert rather than lose it"
        )
