"""The pages *Deliveries*: the list, one delivery, and changes of one or of all that match."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Mapping
from typing import Final

import attrs

from alerthost.config.states import BLOCKED, delivery_reason, delivery_state
from alerthost.console.bodies import attempts_of, item_of, next_message
from alerthost.console.rendering import counted, link
from alerthost.console.view import MOST, Html, Redirect, View, number_of, service_of
from alerthost.http.responses import Rejection
from alerthost.outbox.activity import Actor, Change
from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_lists import DeliveryFilter
from alerthost.outbox.admin_rows import AdminError, DeliveryRow
from alerthost.outbox.retry_policy import GIVEN_UP, DeliveryState
from alerthost.outbox.submission import OVER
from alerthost.store.errors import StoreError

_log = logging.getLogger("hostspec")

STATES: Final = (
    str(DeliveryState.QUEUED),
    BLOCKED,
    *map(str, GIVEN_UP),
    str(DeliveryState.DELIVERED),
    str(DeliveryState.COALESCED),
    str(DeliveryState.DISCARDED),
)
"""States that the list can be limited to."""

REPLAY, DISCARD = "replay", "discard"

DEEDS: Final = {
    REPLAY: "It is planned again from the present state of its alert.",
    "over": f"Nothing is sent again: {OVER}.",
    DISCARD: "It is discarded, and never sent.",
}
"""Confirmations of a change, by the parameter `done`."""

_AT_ONCE: Final = 100
"""Numbers that a change of many deliveries reads at a time."""

_SEARCHED: Final = 200
"""Recent changes in which the end of such a change is looked for."""


def show_list(view: View) -> Html:
    """List deliveries by state and service."""
    state = view.query.get("state", "")
    state = state if state in STATES else ""
    which = attrs.evolve(_filter(state), service=view.service)
    page = view.admin.lists.deliveries(which, view.after, MOST)
    blocked, by_state = view.admin.unsettled()
    counts = {str(each): number for each, number in by_state.items()}
    counts[DeliveryState.QUEUED] = counts.get(DeliveryState.QUEUED, 0) - blocked
    values = {
        "state": state,
        "states": STATES,
        "counts": {**counts, BLOCKED: blocked},
        "rows": [_row(view, row) for row in page.rows],
        "after": page.after,
        "is_filtered": bool(state or which.service or view.after),
        "services": view.service_choices,
        "service": view.query.get("service", "") if which.service else "",
        "operations": _operations(state),
    }
    return Html("deliveries.html", values)


def show(view: View) -> Html:
    """Show one delivery, with its message as it is sent."""
    try:
        row = view.admin.delivery(view.number)
    except AdminError as error:
        raise Rejection(404, "path", str(error)) from None
    found = view.admin.lists.incident(row.incident_id)
    incident = found.incident if found else None
    values = {
        "item": item_of(view, row, incident),
        "attempts": list(attempts_of(view, row)),
        "next": next_message(view, row, incident) if row.log else None,
        "row": row,
        "done": DEEDS.get(view.query.get("done", ""), ""),
    }
    return Html("delivery.html", values)


def replay(view: View) -> Redirect:
    """Replay one delivery that was given up."""
    submission = view.admin.replay(view.number, by=view.actor)
    done = REPLAY if submission else "over"
    return Redirect(link(f"/deliveries/{view.number}", done=done))


def discard(view: View) -> Redirect:
    """Discard one delivery."""
    view.admin.discard_delivery(view.number, by=view.actor)
    return Redirect(link(f"/deliveries/{view.number}", done=DISCARD))


@attrs.frozen
class Batch:
    """A change of all deliveries that match.

    Attributes:
        operation: `REPLAY` or `DISCARD`.
        state: one of `STATES`.
        service: the installation and the destination; None for all.
        upto: the highest number: later deliveries are left alone.
        total: how many matched when the operator was asked.
    """

    operation: str
    state: str
    service: tuple[str, str] | None
    upto: int
    total: int

    @property
    def filter(self) -> DeliveryFilter:
        """Select the deliveries that are left to change."""
        return attrs.evolve(_filter(self.state), service=self.service, upto=self.upto)

    def describe(self, view: View) -> str:
        """Describe the deliveries: how many, their state and their service."""
        at = f" of {view.service_name(*self.service)}" if self.service else ""
        deliveries = counted(self.total, "delivery").replace(" ", f" {self.state} ", 1)
        return f"{deliveries}{at}"


def ask_all(view: View) -> Html:
    """Name the number of deliveries that match, and ask before they are changed."""
    upto = view.admin.lists.last_delivery()
    batch = _batch({**view.query, "upto": str(upto), "total": "0"})
    batch = attrs.evolve(batch, total=view.admin.lists.count(batch.filter))
    values = {
        "batch": batch,
        "title": f"{batch.operation.capitalize()} {batch.describe(view)}?",
        "service": view.query.get("service", ""),
    }
    return Html("deliveries_all.html", values)


def change_all(view: View) -> Redirect:
    """Begin to change all deliveries that match; it goes on after the response."""
    batch = _batch(view.fields)
    name = secrets.token_hex(4)
    change = Change(
        f"began to {batch.operation}", f"batch {name}: {batch.describe(view)}", batch.state
    )
    view.admin.record(view.actor, change)
    threading.Thread(
        target=_change_each, args=(view.admin, view.actor, batch, name), daemon=True
    ).start()
    url = link(
        "/deliveries/progress",
        batch=name,
        operation=batch.operation,
        state=batch.state,
        service=view.fields.get("service", ""),
        upto=batch.upto,
        total=batch.total,
    )
    return Redirect(url)


def show_progress(view: View) -> Html:
    """Show how many deliveries of a batch are left, and how it ended."""
    batch = _batch(view.query)
    left = view.admin.lists.count(batch.filter)
    subject = f"batch {view.query.get('batch', '')}"
    recent = view.admin.lists.activity(None, _SEARCHED).rows
    ends = [each.change.after for each in recent if each.change.subject == subject]
    values = {
        "batch": batch,
        "description": batch.describe(view),
        "done": max(0, batch.total - left),
        "left": left,
        "end": ends[0] if ends else "",
        "service": view.query.get("service", ""),
    }
    return Html("deliveries_progress.html", values)


def _change_each(admin: Admin, actor: Actor, batch: Batch, name: str) -> None:
    """Change each delivery of a batch, and record how it ended."""
    changed, refused, reason, after = 0, 0, "", 0
    try:
        while numbers := admin.lists.numbers(batch.filter, after, _AT_ONCE):
            for number in numbers:
                try:
                    if batch.operation == REPLAY:
                        admin.replay(number)
                    else:
                        admin.discard_delivery(number)
                    changed += 1
                except AdminError as error:
                    refused, reason = refused + 1, str(error)
            after = numbers[-1]
        end = f"{changed:,} done" + (f", {refused:,} refused: {reason}" if refused else "")
        admin.record(actor, Change(f"ended to {batch.operation}", f"batch {name}", "", end))
    except StoreError as error:
        _log.error("batch %s stopped after %d: the store fails: %s", name, changed, error)


def _filter(state: str) -> DeliveryFilter:
    if state == BLOCKED:
        return DeliveryFilter(DeliveryState.QUEUED, blocked=True)
    if state == DeliveryState.QUEUED:
        return DeliveryFilter(DeliveryState.QUEUED, blocked=False)
    return DeliveryFilter(DeliveryState(state) if state else None)


def _operations(state: str) -> tuple[str, ...]:
    """Return the changes that are possible for all deliveries in a state."""
    if state in GIVEN_UP:
        return (REPLAY, DISCARD)
    return (DISCARD,) if state in {BLOCKED, DeliveryState.QUEUED} else ()


def _batch(fields: Mapping[str, str]) -> Batch:
    """Read a batch from the parameters of a URL or the fields of a form.

    Raises:
        Rejection: they name no change that is possible.
    """
    operation, state = fields.get("operation", ""), fields.get("state", "")
    if operation not in _operations(state):
        raise Rejection(400, "form", "choose a state, and replay or discard")
    return Batch(
        operation=operation,
        state=state,
        service=service_of(fields.get("service", "")),
        upto=number_of(fields.get("upto", "")),
        total=number_of(fields.get("total", "")),
    )


@attrs.frozen
class _Row:
    row: DeliveryRow
    state: str
    service: str
    reason: str


def _row(view: View, row: DeliveryRow) -> _Row:
    service = view.lanes.name_of(row.delivery.ref)
    return _Row(row, delivery_state(row), service, delivery_reason(row))
