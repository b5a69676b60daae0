"""Deliveries as pages show them: with their attempts and the exact bodies, keys masked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import attrs

from alerthost.config.states import delivery_reason, delivery_state
from alerthost.console.rendering import pretty
from alerthost.console.view import View
from alerthost.outbox.admin_rows import DeliveryRow
from alerthost.outbox.attempts import PastAttempt
from alerthost.outbox.retry_policy import GIVEN_UP, DeliveryState
from hostspec.delivery import Incident, SendContext
from hostspec.errors import describe_error


@attrs.frozen
class Message:
    """A message as it is sent.

    Attributes:
        target: where it goes, such as a method and a URL.
        body: as JSON, on several lines; the plan of it where it cannot be shown, and empty if that
            cannot be read either.
        fault: why the exact body cannot be shown; empty if it can.
    """

    target: str
    body: str
    fault: str


@attrs.frozen
class ShownAttempt:
    """An attempt with its message.

    Attributes:
        unkept: number of attempts before it that are not kept.
        message: None if it is that of the attempt before.
    """

    past: PastAttempt
    unkept: int
    message: Message | None


@attrs.frozen
class Item:
    """A delivery with its message.

    Attributes:
        state: in the words of all lists.
        reason: why it is in that state; empty for a delivered one.
        service: its name.
        message: of its last attempt; before the first attempt, of that one.
    """

    row: DeliveryRow
    state: str
    reason: str
    service: str
    message: Message

    @property
    def may_replay(self) -> bool:
        """Whether it was given up, and can be planned again."""
        return self.row.state in GIVEN_UP and self.row.is_readable

    @property
    def may_discard(self) -> bool:
        """Whether it is queued, readable and not in flight, or was given up."""
        row = self.row
        queued = row.state is DeliveryState.QUEUED and row.is_readable and not row.sending
        return queued or row.state in GIVEN_UP


def item_of(view: View, row: DeliveryRow, incident: Incident | None) -> Item:
    """Build a delivery with its message.

    Args:
        view: has the action and the installation.
        row: with its message.
        incident: with the handle that follow-ups need; None if it is gone.
    """
    context = _context_of(row.log[-1]) if row.log else _next_context(view, row, incident)
    return Item(
        row,
        delivery_state(row),
        delivery_reason(row),
        view.lanes.name_of(row.delivery.ref),
        _preview(view, row, context),
    )


def attempts_of(view: View, row: DeliveryRow) -> Iterator[ShownAttempt]:
    """Yield the attempts of a delivery that are kept, with their messages."""
    last, before = 0, None
    for each in row.log:
        message = _preview(view, row, _context_of(each))
        yield ShownAttempt(each, each.number - last - 1, None if message == before else message)
        last, before = each.number, message


def next_message(view: View, row: DeliveryRow, incident: Incident | None) -> Message | None:
    """Return the message of the next attempt, or the one in flight; None of an ended delivery."""
    if row.finished_at is not None:
        return None
    return _preview(view, row, _next_context(view, row, incident))


def _context_of(attempt: PastAttempt) -> SendContext:
    return SendContext(
        handle=attempt.handle,
        attempt=attempt.number,
        accepted_at=_time(attempt.accepted_at),
        now=_time(attempt.started_at),
        coalesced=attempt.coalesced,
    )


def _next_context(view: View, row: DeliveryRow, incident: Incident | None) -> SendContext:
    return SendContext(
        handle=incident.handle if incident else None,
        attempt=row.attempts if row.sending or row.finished_at else row.attempts + 1,
        accepted_at=_time(row.accepted_at),
        now=_time(row.finished_at or view.now),
        coalesced=row.coalesced,
    )


def _time(moment: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(moment, dt.UTC)


def _preview(view: View, row: DeliveryRow, context: SendContext) -> Message:
    """Return the message of an attempt."""
    if not row.is_readable:
        return Message("", "", "its stored text cannot be read")
    planned = pretty(row.delivery.message)
    ref = row.delivery.ref
    action = view.configuration.plugins.actions.get(ref.action)
    installations = {each.name: each for each in view.configuration.installations}
    installation = installations.get(ref.installation)
    if action is None or installation is None:
        gone = f"action {ref.action}" if action is None else f"account {ref.installation}"
        return Message("", planned, f"the {gone} is not configured any more")
    try:
        preview = action.preview(row.delivery, installation, context)
        return Message(str(preview.target), pretty(preview.body), "")
    except BaseException as error:  # noqa: BLE001 -- whatever a plugin does
        return Message("", planned, f"the action {ref.action} {describe_error(error)}")
