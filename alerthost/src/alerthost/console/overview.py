"""The page *Overview*: problems for the operator, the services, and the open incidents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from alerthost.config.states import incident_state
from alerthost.console.rendering import counted, link
from alerthost.console.view import Html, View
from alerthost.outbox.admin_lists import IncidentFilter
from alerthost.outbox.admin_services import Service
from alerthost.outbox.retry_policy import GIVEN_UP, LaneState
from alerthost.outbox.submission import SubmissionOutcome

SLOW: Final = 60.0
"""Seconds after which the oldest queued delivery makes its service slow."""

OPEN_SHOWN: Final = 10
"""Open incidents that the page shows."""

CARDS_SHOWN: Final = 60
"""Services that the page shows."""

BAR, GAP, HEIGHT = 3, 1, 36
"""Width of a bar of a chart, its distance to the next, and the height of the chart."""


@attrs.frozen
class Problem:
    """A problem that the operator has to solve.

    Attributes:
        title: of it.
        detail: why, in the words of the provider where there are any.
        url: of the page where it is shown.
        since: in seconds of the epoch; None where it is not known.
    """

    title: str
    detail: str
    url: str
    since: float | None = None


@attrs.frozen
class Card:
    """A service as the page shows it.

    Attributes:
        health: healthy, slow, throttled, failing or blocked.
        bars: of the chart: x, y and height of each minute with a message.
        line: the height of the rate limit in the chart; None where it is beyond the chart.
    """

    name: str
    link: str
    service: Service
    health: str
    bars: tuple[tuple[int, float, float], ...]
    line: float | None

    @property
    def total(self) -> int:
        """Messages of the last hour."""
        return sum(self.service.sent)


def show(view: View) -> Html:
    """Show the problems, each service, and the open incidents."""
    services = _services(view)
    found = [each for each in services if view.finds(_name(view, each))]
    found.sort(key=lambda each: (health(each, view.now) == "healthy", not each.queued))
    open_now = view.admin.lists.incidents(IncidentFilter(), None, OPEN_SHOWN)
    values = {
        "problems": list(_problems(view, services)),
        "cards": [_card(view, each) for each in found[:CARDS_SHOWN]],
        "count": len(services),
        "text": view.text,
        "incidents": [
            (row, incident_state(row, view.configuration), view.lanes.name_of(row.incident.ref))
            for row in open_now.rows
        ],
        "more": view.admin.lists.open_incidents() if open_now.after else 0,
        "rules": len(view.configuration.rules),
        "heartbeats": view.admin.heartbeats(view.configuration.heartbeats),
    }
    return Html("overview.html", values)


def _services(view: View) -> list[Service]:
    """Return the configured services, and others with queued deliveries."""
    known = {(each.installation, each.destination): each for each in view.admin.lists.services()}
    configured = {
        (installation, destination): known.pop(
            (installation, destination), Service(installation, destination)
        )
        for installation, destination in view.services
    }
    return [*configured.values(), *(each for each in known.values() if each.queued)]


def _name(view: View, service: Service) -> str:
    return view.service_name(service.installation, service.destination)


def health(service: Service, now: float) -> str:
    """Return the health of a service in one word."""
    if service.state is LaneState.BLOCKED:
        return "blocked"
    if service.state is LaneState.UNHEALTHY:
        return "failing"
    if service.queued and service.throttled_until is not None:
        return "throttled"
    if service.oldest is not None and now - service.oldest > SLOW:
        return "slow"
    return "healthy"


def _problems(view: View, services: list[Service]) -> Iterator[Problem]:
    """Yield the problems, the gravest first."""
    if trouble := view.engine.trouble:
        yield Problem("The store fails", trouble, link("/"))
    if view.reload_errors:
        title = "The configuration cannot be reloaded; the previous one stays active"
        yield Problem(title, "; ".join(view.reload_errors), link("/rules"))
    for rule in view.configuration.faulty_rules:
        title = f"Rule {rule.name}: {rule.consequence}"
        yield Problem(title, "; ".join(map(str, rule.faults)), link("/rules"))
    if any(each.queued for each in services) and not view.admin.is_worked_on():
        detail = "start alerthost run without --no-workers"
        yield Problem("No process delivers the queued alerts", detail, link("/deliveries"))
    for each in services:
        if each.state is LaneState.BLOCKED:
            service = f"{each.installation}/{each.destination}"
            queued = counted(each.queued, "delivery")
            yield Problem(
                f"{_name(view, each)} is blocked, with {queued} queued",
                each.reason,
                link("/deliveries", state="blocked", service=service),
                each.since,
            )
    if orphaned := view.admin.lists.incidents(IncidentFilter(orphaned=True), None, 1).rows:
        detail = "Their key is not configured any more. Restore it, or close them at the provider."
        url = link("/incidents", state="orphaned")
        yield Problem("Incidents are orphaned", detail, url, orphaned[0].changed_at)
    _, by_state = view.admin.unsettled()
    for state in GIVEN_UP:
        if count := by_state.get(state):
            title = f"{counted(count, 'delivery')} {state}"
            detail = "Nothing more is sent. Replay them when the cause is gone, or discard them."
            yield Problem(title, detail, link("/deliveries", state=state))
    for outcome in (SubmissionOutcome.DEAD, SubmissionOutcome.FAILED):
        if found := view.admin.unsent(outcome, most=1):
            title = f"Alerts could not be planned ({outcome})"
            url = link("/alerts", outcome=outcome)
            yield Problem(title, "; ".join(found[0].note.reasons), url, found[0].accepted_at)


def _card(view: View, service: Service) -> Card:
    limit = service.per_minute
    most = max(service.sent)
    top = max(1.0, most, limit if limit and limit < 4 * most else 0)
    bars = tuple(
        (minute * (BAR + GAP), round(HEIGHT - height, 1), round(height, 1))
        for minute, number in enumerate(service.sent)
        for height in (HEIGHT * number / top,)
        if number
    )
    return Card(
        name=_name(view, service),
        link=f"{service.installation}/{service.destination}",
        service=service,
        health=health(service, view.now),
        bars=bars,
        line=round(HEIGHT * (1 - limit / top), 1) if limit and limit <= top else None,
    )
