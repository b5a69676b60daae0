"""Checks of `plan` and `follow_up`: pure, and from what they are given alone."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import attrs

from hostspec.alert import Alert, Severity, Status
from hostspec.connect.install_flow import PendingInstall
from hostspec.delivery import Delivery, Incident, IncidentRef, Operation, Outcome
from hostspec.testing import samples
from hostspec.testing.case import INSTALLATION, RULE, ProviderCase, UnderTest, incident_of
from hostspec.testing.requirement import fail, require
from hostspec.testing.watching import purely
from hostspec.values import from_json, to_json

T = TypeVar("T")

HANDLE: Final = {"conformance": "handle"}


def check_every_alert_is_planned(case: ProviderCase) -> None:
    """Every alert can be planned, whatever its shape, into deliveries of the action's own."""
    connected = case.connect()
    for alert in samples.samples():
        planned: object = _calling("plan", alert, functools.partial(connected.plan, alert))
        for delivery in planned if isinstance(planned, list) else ():
            if not isinstance(delivery, Delivery):
                fail(f"plan() gave a {type(delivery).__name__}; give deliveries")
            ref = delivery.ref
            require(
                (ref.action, ref.installation) == (connected.action.name, INSTALLATION)
                and delivery.alert == alert.identity,
                f"plan() gave a delivery to {ref} about {delivery.alert}; take the names and "
                "the alert's identity from what plan() is given",
            )
            require(
                RULE in delivery.rules,
                "plan() gave a delivery without the rule's name; put `rule` into its rules",
            )
        if alert.status is Status.FIRING:
            require(
                [each for each in connected.plan(alert) if each.operation is Operation.TRIGGER],
                f"plan() triggers nothing for the firing alert {alert.key[:40]!r}; a person "
                "would never learn of it",
            )


def check_plan_is_pure(case: ProviderCase) -> None:
    """Planning does nothing but give deliveries, and gives the same for the same."""
    connected = case.connect()
    before = [to_json(alert) for alert in samples.samples()], repr(connected.settings)
    alerts = samples.samples()
    for alert in _plannable(connected, alerts):
        purely("plan", functools.partial(connected.plan, alert))
    require(
        before == ([to_json(alert) for alert in alerts], repr(connected.settings)),
        "plan() changed the alert or the settings; copy what you change",
    )


def check_follow_up_is_pure(case: ProviderCase) -> None:
    """Following up does nothing but give a delivery, and gives the same for the same."""
    connected = case.connect()
    incident = incident_of(connected.open(samples.firing("conformance/pure")), HANDLE)
    for alert in _later("conformance/pure"):
        before = (to_json(incident), to_json(alert))
        purely("follow_up", functools.partial(connected.action.follow_up, incident, alert))
        require(
            before == (to_json(incident), to_json(alert)),
            "follow_up() changed the incident or the alert; copy what you change",
        )


def check_problems_are_told_apart(case: ProviderCase) -> None:
    """Another problem is another incident; the same one said otherwise is the same."""
    connected = case.connect()
    ref = connected.open(samples.firing("conformance/one")).ref
    for other in (
        samples.firing("conformance/two"),
        samples.firing("conformance/one", scope="tenant"),
    ):
        require(
            connected.open(other).ref != ref,
            "two problems (another key, or another scope) share one place, so that one would "
            "close the other's incident; take key and scope into the correlation key",
        )
    milder = Alert("conformance/one", "Said otherwise", severity=Severity.INFO)
    require(
        connected.open(milder).ref == ref,
        "one problem said in other words has another place, so that its incident would never "
        "close; make the correlation key from the alert's key and scope alone",
    )


def check_follow_ups(case: ProviderCase) -> None:
    """What an action says it can do after opening, it does, at the incident's place."""
    connected = case.connect()
    can = connected.action.capabilities
    delivery = connected.open(samples.firing("conformance/later"))
    incident = incident_of(delivery, HANDLE)
    for alert, operation, declared, name in zip(
        _later("conformance/later"),
        (Operation.UPDATE, Operation.ACKNOWLEDGE, Operation.RESOLVE),
        (can.update, can.acknowledge, can.resolve),
        ("update", "acknowledge", "resolve"),
        strict=True,
    ):
        followed = _calling(
            "follow_up", alert, functools.partial(connected.action.follow_up, incident, alert)
        )
        does = followed is not None and followed.operation is operation
        require(
            does or not declared,
            f"the capabilities say {name}, but follow_up() gives none for an alert that is "
            f"{alert.status}; give a delivery, or take {name} back",
        )
        require(
            followed is None or (declared and does),
            f"follow_up() gives what the capabilities do not say for an alert that is "
            f"{alert.status}; declare {name}, or give None",
        )
        require(
            followed is None or followed.ref == incident.ref,
            "follow_up() goes to another place than the incident's, which stays open for ever; "
            "use incident.ref",
        )


def check_missed(case: ProviderCase) -> None:
    """What is sent for a problem that was over before anyone was told closes what it opens."""
    connected = case.connect()
    action = connected.action
    opening = connected.open(samples.firing("conformance/missed"))
    over = samples.of_status("conformance/missed", Status.RESOLVED)
    closing = action.follow_up(incident_of(opening), over)
    if closing is None:
        return
    closing = attrs.evolve(closing, ref=opening.ref)
    told: object = purely("missed", functools.partial(action.on_missed, opening, closing))
    if not isinstance(told, Sequence) or not all(isinstance(each, Delivery) for each in told):
        fail("missed() gave something else than a list of deliveries; give such a list")
    is_open: set[IncidentRef] = set()
    for delivery in told:
        require(
            delivery.alert in (opening.alert, closing.alert),
            f"missed() speaks about {delivery.alert}; take the alert from the opening",
        )
        if delivery.ref.action == action.name and delivery.operation is Operation.TRIGGER:
            is_open.add(delivery.ref)
        elif delivery.operation is Operation.RESOLVE:
            is_open.discard(delivery.ref)
    require(
        not is_open,
        "missed() opens an incident that it does not close, though the problem is over; give "
        "the closing after the opening, or neither",
    )


def check_follow_ups_need_the_incident_alone(case: ProviderCase) -> None:
    """After a restart, the stored incident is all there is to follow up from."""
    connected = case.connect()
    incident = incident_of(connected.open(samples.firing("conformance/stored")), HANDLE)
    stored = from_json(Incident, _through_text(to_json(incident)))
    for alert in _later("conformance/stored"):
        known = connected.action.follow_up(incident, alert)
        again = case.connect().action.follow_up(stored, alert)
        require(
            known == again,
            "follow_up() gives something else after a restart, from the incident as it was "
            "stored; keep in the handle what it needs, and nothing in the action",
        )


def check_json_round_trips(case: ProviderCase) -> None:
    """What crosses the border survives JSON: installations, deliveries and outcomes."""
    connected = case.connect()
    installation = connected.installation
    stored = _through_text(to_json(installation))
    require(
        connected.provider.installation(stored["name"], stored["settings"]) == installation,
        "the installation comes back from JSON as another; let its settings class be a plain "
        "attrs class, and let installation() change nothing",
    )
    for alert in _plannable(connected, samples.samples()):
        for delivery in connected.plan(alert):
            require_round_trip(delivery, "delivery")
    with case.connected(case.service()) as (at_service, _):
        outcome = case.send(at_service, at_service.open(samples.firing("conformance/stored")))
        require_round_trip(outcome, "outcome")


def _plannable(connected: UnderTest, alerts: Iterable[Alert]) -> list[Alert]:
    """Return the alerts that can be planned; of the others another check tells."""
    plannable = []
    for alert in alerts:
        with contextlib.suppress(Exception):
            connected.plan(alert)
            plannable.append(alert)
    return plannable


def require_round_trip(value: Delivery | Outcome | PendingInstall, what: str) -> None:
    """Require that a value survives JSON.

    Raises:
        ConformanceError: it does not.
    """
    try:
        back = from_json(type(value), _through_text(to_json(value)))
    except (TypeError, ValueError, RecursionError) as error:
        fail(f"the {what} is no JSON: {error}; put plain JSON into message, handle and settings")
    require(
        back == value,
        f"the {what} comes back from JSON as another; put plain JSON into message, handle "
        "and settings: text, finite numbers, lists, and objects whose keys are texts",
    )


def _through_text(stored: object) -> Any:
    return json.loads(json.dumps(stored, allow_nan=False))


def _later(token: str) -> Iterator[Alert]:
    """Return the alerts that come after the first, as updated, acknowledged and resolved."""
    for status in Status:
        yield samples.of_status(token, status)


def _calling(name: str, alert: Alert, call: Callable[[], T]) -> T:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 -- told as what it is
        fail(
            f"{name}() raised {type(error).__name__} for the {alert.status} alert "
            f"{alert.key[:40]!r}: {error}; no alert may be lost for its shape, so mend what you "
            "cannot send"
        )
