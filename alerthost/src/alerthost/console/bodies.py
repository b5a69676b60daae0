"""Deliveries as pages show them: with the exact body, keys masked."""

from __future__ import annotations

import datetime as dt

import attrs

from alerthost.config.states import delivery_reason, delivery_state
from alerthost.console.rendering import pretty
from alerthost.console.view import View
from alerthost.outbox.admin_rows import DeliveryRow
from alerthost.outbox.retry_policy import GIVEN_UP, DeliveryState
from hostspec.delivery import Incident, SendContext
from hostspec.errors import describe_error


@attrs.frozen
class Item:
    """A delivery with its message.

    Attributes:
        state: in the words of all lists.
        reason: why it is in that state; empty for a delivered one.
        service: its name.
        target: where the message goes, such as a method and a URL.
        body: the message as JSON, on several lines; the plan of it where it cannot be shown, and
            empty if that cannot be read either.
        fault: why the exact body cannot be shown; empty if it can.
    """

    row: DeliveryRow
    state: str
    reason: str
    service: str
    target: str
    body: str
    fault: str

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
    target, body, fault = _preview(view, row, incident)
    return Item(
        row,
        delivery_state(row),
        delivery_reason(row),
        view.lanes.name_of(row.delivery.ref),
        target,
        body,
        fault,
    )


def _preview(view: View, row: DeliveryRow, incident: Incident | None) -> tuple[str, str, str]:
    """Return the target, the body, and why the exact body is not known."""
    if not row.is_readable:
        return "", "", "its stored text cannot be read"
    planned = pretty(row.delivery.message)
    ref = row.delivery.ref
    action = view.configuration.plugins.actions.get(ref.action)
    installations = {each.name: each for each in view.configuration.installations}
    installation = installations.get(ref.installation)
    if action is None or installation is None:
        gone = f"action {ref.action}" if action is None else f"account {ref.installation}"
        return "", planned, f"the {gone} is not configured any more"
    context = SendContext(
        handle=incident.handle if incident else None,
        attempt=max(row.attempts, 1),
        accepted_at=dt.datetime.fromtimestamp(row.accepted_at, dt.UTC),
        now=dt.datetime.fromtimestamp(row.finished_at or view.now, dt.UTC),
        coalesced=row.coalesced,
    )
    try:
        preview = action.preview(row.delivery, installation, context)
        return str(preview.target), pretty(preview.body), ""
    except BaseException as error:  # noqa: BLE001 -- whatever a plugin does
        return "", planned, f"the action {ref.action} {describe_error(error)}"
