"""Reads the services that the console shows: their state, their queue and their last hour."""

from __future__ import annotations

import itertools
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import delivery_store, rate_limit_store
from alerthost.outbox.lane_store import FAILS, OF_DELIVERY
from alerthost.outbox.rate_limit_store import read_names
from alerthost.outbox.retry_policy import DeliveryState, LaneState
from alerthost.store.tables import channels, deliveries, incidents, lanes

MINUTES: Final = 60
"""Minutes for which sent messages are counted."""


@attrs.frozen
class Service:
    """The lane of a service; times are in seconds of the epoch.

    Attributes:
        state: the worst state of its channels that have queued deliveries.
        reason: of that state, in the words of the last failure.
        since: when that state began; None for a healthy lane.
        queued: number of deliveries to be sent.
        oldest: when the oldest of them was accepted.
        throttled_until: no ordinary message before this moment, by its rate limits.
        sent: messages that the provider accepted in each of the last `MINUTES` minutes.
        per_minute: messages that its rate limits allow in a minute; None where none is known yet.
    """

    installation: str
    destination: str
    state: LaneState = LaneState.HEALTHY
    reason: str = ""
    since: float | None = None
    queued: int = 0
    oldest: float | None = None
    throttled_until: float | None = None
    sent: tuple[int, ...] = (0,) * MINUTES
    per_minute: float | None = None


def read_services(connection: sa.Connection, now: float) -> tuple[Service, ...]:
    """Return all services that anything was sent to, or is queued for."""
    start = now - MINUTES * 60
    queued = {row.lane_id: row for row in connection.execute(_QUEUED)}
    failing: dict[int, sa.Row[Any]] = {}
    for row in connection.execute(_FAILING):
        failing.setdefault(row.lane_id, row)
    sent: dict[int, list[int]] = {}
    for row in connection.execute(_SENT, {"start": start}):
        minutes = sent.setdefault(row.lane_id, [0] * MINUTES)
        minutes[max(0, min(row.minute, MINUTES - 1))] += row.number
    found = connection.execute(_LANES).all()
    names = [read_names(lane.budgets) for lane in found]
    known = rate_limit_store.find(connection, itertools.chain.from_iterable(names))
    limits = [[known[name] for name in each if name in known] for each in names]
    return tuple(
        Service(
            installation=lane.installation,
            destination=lane.destination,
            state=LaneState(failing[lane.id].state) if lane.id in failing else LaneState.HEALTHY,
            reason=failing[lane.id].reason if lane.id in failing else "",
            since=failing[lane.id].since if lane.id in failing else None,
            queued=queued[lane.id].number if lane.id in queued else 0,
            oldest=queued[lane.id].oldest if lane.id in queued else None,
            throttled_until=free if free > now else None,
            sent=tuple(sent.get(lane.id, (0,) * MINUTES)),
            per_minute=min(
                (each.limit.count * 60 / each.limit.window for each in limited), default=None
            ),
        )
        for lane, limited in zip(found, limits, strict=True)
        for free in (max((each.free_at(now, urgent=False) for each in limited), default=now),)
    )


_LANES: Final = sa.select(lanes).order_by(lanes.c.installation, lanes.c.destination)

_QUEUED: Final = (
    sa.select(
        deliveries.c.lane_id,
        sa.func.count().label("number"),
        sa.func.min(deliveries.c.accepted_at).label("oldest"),
    )
    .where(delivery_store.IS_QUEUED)
    .group_by(deliveries.c.lane_id)
)

_FAILING_QUEUED: Final = (
    sa.select(channels.c.id)
    .select_from(deliveries)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(channels, OF_DELIVERY)
    .where(delivery_store.IS_QUEUED, FAILS)
)
_FAILING: Final = (
    sa.select(channels)
    .where(channels.c.id.in_(_FAILING_QUEUED))
    .order_by(channels.c.lane_id, channels.c.state != LaneState.BLOCKED, channels.c.since)
)
"""The failing channels with queued deliveries: one without any may belong to a replaced key, and
never recover. Of each lane, the blocked and then the longest failing one first."""

_SENT: Final = (
    sa.select(
        deliveries.c.lane_id,
        # both databases round to the nearest number: that of the minute is the one below
        sa.cast(
            sa.func.round((deliveries.c.finished_at - sa.bindparam("start")) / 60.0 - 0.499999),
            sa.Integer,
        ).label("minute"),
        sa.func.count().label("number"),
    )
    .where(
        deliveries.c.state == DeliveryState.DELIVERED,
        deliveries.c.finished_at > sa.bindparam("start"),
    )
    .group_by("lane_id", "minute")
)
