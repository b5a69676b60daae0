"""Reads and schedules lanes, and records whether their channels work.

A lane holds the deliveries to one destination of an installation; a channel, those of a lane that
one action sends under one credential. The engine knows no credentials. It recognises them by the
budgets that deliveries are sent from, which actions count by credential: those of an open incident,
which keeps the credential that opened it, or none yet for deliveries that open one, under the
newest credential.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox.backend import UnitOfWork
from alerthost.outbox.retry_policy import LaneState
from alerthost.store.tables import channels, deliveries, incidents, lanes
from hostspec.delivery import IncidentRef

CHANNEL_OF_INCIDENT: Final = (
    incidents.c.action
    + sa.literal_column("' '")
    + sa.case((incidents.c.handle.is_(None), sa.literal_column("''")), else_=incidents.c.budgets)
)
"""The name of the channel of an incident's deliveries, which they keep in a column."""

OF_DELIVERY: Final = sa.and_(
    channels.c.lane_id == deliveries.c.lane_id, channels.c.name == deliveries.c.channel
)
"""Joins the channel of a delivery, where one is kept: one that never failed is not."""

FAILS: Final = channels.c.failures > 0
GATE: Final = sa.func.coalesce(
    sa.case((deliveries.c.attempts == 0, channels.c.first_due), else_=channels.c.due), 0.0
)
"""Before when a delivery is not tried because its channel fails."""


def lanes_of(
    connection: sa.Connection, refs: Iterable[IncidentRef]
) -> Mapping[tuple[str, str], int]:
    """Return the rows of the lanes of incidents, by installation and destination.

    New lanes are inserted.
    """
    keys = dict.fromkeys((ref.installation, ref.destination) for ref in refs)
    found = _find_lanes(connection, keys)
    new = [
        {"installation": installation, "destination": destination}
        for installation, destination in sorted(keys.keys() - found.keys())
    ]
    if new:
        connection.execute(_NEW_LANE, new)
        found = _find_lanes(connection, keys)
    return found


def _find_lanes(
    connection: sa.Connection, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    rows = connection.execute(_LANES, {"destinations": [destination for _, destination in keys]})
    return {(row.installation, row.destination): row.id for row in rows}


def wake(uow: UnitOfWork, *numbers: int) -> None:
    """Schedule lanes for now; one that fails, for the next moment that allows a first attempt."""
    in_order = [{"lane": lane, "now": uow.now} for lane in sorted(numbers)]  # of locking
    if in_order:
        uow.connection.execute(_WAKE, in_order)


def postpone(uow: UnitOfWork, due: Mapping[int, float | None]) -> None:
    """Schedule lanes, given by their rows; None until something is enqueued."""
    if due:
        rows = [{"lane": lane, "moment": moment} for lane, moment in sorted(due.items())]
        uow.connection.execute(_POSTPONE, rows)


def note_leased(uow: UnitOfWork, numbers: Iterable[int]) -> None:
    """Record that deliveries of lanes were leased; others may be leased at once."""
    rows = [{"lane": lane, "now": uow.now} for lane in sorted(numbers)]
    if rows:
        uow.connection.execute(_LEASED, rows)


def update(connection: sa.Connection, lane: int, **changes: Any) -> None:
    """Change a lane; it is `due` at a moment, or None until something is enqueued."""
    connection.execute(sa.update(lanes).where(lanes.c.id == lane), changes)


@attrs.frozen
class Channel:
    """A channel as it stands.

    Attributes:
        failures: one after the other, which may be the channel's.
        last_success_at: when a delivery got through last; 0 where none did since one failed.
    """

    failures: int = 0
    last_success_at: float = 0.0


def find_channel(connection: sa.Connection, lane: int, name: str) -> Channel:
    """Return a channel of a lane."""
    row = connection.execute(_ONE, {"lane": lane, "channel": name}).first()
    return Channel(row.failures, row.last_success_at) if row else Channel()


def channel_name(action: str, budgets: str = "") -> str:
    """Return the name of the channel of an action for some budgets; none are of what opens."""
    return f"{action} {budgets}"


def follow_incidents(connection: sa.Connection, numbers: Collection[int]) -> None:
    """Move the queued deliveries of incidents, given by their rows, to the incidents' channels."""
    connection.execute(_FOLLOW, {"numbers": numbers})


def channel_of_incident(connection: sa.Connection, number: int) -> str:
    """Return the name of the channel of an incident's deliveries."""
    return str(
        connection.execute(
            sa.select(CHANNEL_OF_INCIDENT).where(incidents.c.id == number)
        ).scalar_one()
    )


@attrs.frozen
class Evidence:
    """An attempt as evidence of whether its lane works.

    Attributes:
        lane: its row.
        channel: the name of the channel that the delivery was leased in.
        budgets: the names of the budgets that the attempt counted against.
        opens: it opens an incident, under the newest credential.
    """

    lane: int
    action: str
    channel: str
    budgets: str
    opens: bool

    def channels(self, newest: str) -> set[str]:
        """Return the names of the channels that work if the provider answered.

        Args:
            newest: the names of the budgets from which the lane opened last.
        """
        opening = {channel_name(self.action)} if newest == self.budgets else set()
        return {self.channel, channel_name(self.action, self.budgets)} | opening


def note_delivered(uow: UnitOfWork, evidence: Sequence[Evidence]) -> None:
    """Record that lanes work, since deliveries got through, and lock their rows."""
    connection, now = uow.connection, uow.now
    lanes_ = {"lanes": sorted({each.lane for each in evidence})}
    budgets = {row.id: row.budgets for row in connection.execute(_LOCK, lanes_)}
    budgets.update((each.lane, each.budgets) for each in evidence if each.opens)
    failing = {row.lane_id: row.fails for row in connection.execute(_WITH_CHANNELS, lanes_)}
    for each in evidence:
        if each.lane in failing:
            names = each.channels(budgets[each.lane])
            note_success(connection, each.lane, names, now, delivered=True)
    # a key may have been replaced, so that nothing will be sent under the one before
    opened = {each.lane for each in evidence if each.opens and failing.get(each.lane)}
    if opened:
        connection.execute(_END_UNUSED.where(channels.c.lane_id.in_(sorted(opened))))
    works = [{"lane": lane, "now": now, "used": used} for lane, used in sorted(budgets.items())]
    connection.execute(_WORKS, works)


def note_success(
    connection: sa.Connection, lane: int, names: Collection[str], now: float, *, delivered: bool
) -> None:
    """Record that channels of a lane work: the provider answered, and took a delivery or not."""
    works = {"state": LaneState.HEALTHY, "reason": "", "failures": 0, "due": 0.0, "first_due": 0.0}
    through = {"last_success_at": now} if delivered else {}
    connection.execute(_NAMED, {"lane": lane, "names": [*names], **works, **through})


def note_failure(  # noqa: PLR0913 -- the columns of a channel
    connection: sa.Connection,
    lane: int,
    names: Collection[str],
    now: float,
    *,
    state: LaneState,
    reason: str,
    due: float,
    first_due: float,
) -> None:
    """Record that channels of a lane fail; the caller holds the lock of the lane's row.

    One of their deliveries may be tried again when it is `due`; one that was never tried, when it
    is `first_due`.
    """
    for name in sorted(names):
        row = connection.execute(_ONE, {"lane": lane, "channel": name}).first()
        values: dict[str, Any] = {
            "state": state,
            "reason": reason,
            "failures": row.failures + 1 if row else 1,
            "since": row.since if row and row.failures and row.state == state else now,
            "due": due,
            "first_due": first_due,
        }
        if row:
            changed = sa.update(channels).where(channels.c.id == row.id)
            connection.execute(changed, values)
        else:
            known = {"lane_id": lane, "name": name, "last_success_at": 0.0}
            connection.execute(_NEW, {**known, **values})


def resume(connection: sa.Connection, now: float) -> None:
    """Try failing channels again at once: the cause may be gone; end those without deliveries."""
    failing = sa.select(channels.c.lane_id).where(FAILS)
    connection.execute(sa.update(lanes).where(lanes.c.id.in_(failing)).values(due=now))
    connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.lane_id.in_(failing),
            deliveries.c.is_head,
            deliveries.c.attempts > 0,
            deliveries.c.due > now,
        )
        .values(due=now)
    )
    connection.execute(_END_UNUSED)
    connection.execute(sa.update(channels).where(FAILS).values(due=now, first_due=now))
    works = sa.and_(lanes.c.state != LaneState.HEALTHY, lanes.c.id.not_in(failing))
    connection.execute(sa.update(lanes).where(works).values(state=LaneState.HEALTHY))


_NOW: Final[sa.BindParameter[float]] = sa.bindparam("now", type_=sa.Double())
_FIRST_DUE: Final = (
    sa.select(sa.func.min(channels.c.first_due))
    .where(channels.c.lane_id == lanes.c.id, channels.c.failures > 0)
    .correlate(lanes)
    .scalar_subquery()
)
_SOON: Final = sa.case(
    (sa.and_(lanes.c.state != LaneState.HEALTHY, _FIRST_DUE > _NOW), _FIRST_DUE), else_=_NOW
)
_WAKE: Final = (
    # locks the row even if it changes nothing: no other transaction must find nothing to send,
    # and put the lane to sleep, before this one has committed
    sa.update(lanes)
    .where(lanes.c.id == sa.bindparam("lane"))
    .values(
        due=sa.case((sa.or_(lanes.c.due.is_(None), lanes.c.due > _SOON), _SOON), else_=lanes.c.due)
    )
)
_LANES: Final = sa.select(lanes.c.id, lanes.c.installation, lanes.c.destination).where(
    lanes.c.destination.in_(sa.bindparam("destinations", expanding=True))
)
_NEW_LANE: Final = sa.text(
    "INSERT INTO lanes (installation, destination) VALUES (:installation, :destination)"
    " ON CONFLICT (installation, destination) DO NOTHING"
)
_ONE: Final = sa.select(channels).where(
    channels.c.lane_id == sa.bindparam("lane"), channels.c.name == sa.bindparam("channel")
)
FAILING: Final = (
    sa.select(channels)
    .where(channels.c.lane_id.in_(sa.bindparam("lanes", expanding=True)), FAILS)
    .order_by(channels.c.id)
)
"""The channels of some lanes that fail now."""

_FOLLOW: Final = (
    sa.update(deliveries)
    .where(
        deliveries.c.incident_id.in_(sa.bindparam("numbers", expanding=True)),
        deliveries.c.finished_at.is_(None),
    )
    .values(
        channel=sa.select(CHANNEL_OF_INCIDENT)
        .where(incidents.c.id == deliveries.c.incident_id)
        .scalar_subquery()
    )
)
_LOCK: Final = (
    sa.select(lanes.c.id, lanes.c.budgets)
    .where(lanes.c.id.in_(sa.bindparam("lanes", expanding=True)))
    .order_by(lanes.c.id)
    .with_for_update(key_share=True)
)
_WITH_CHANNELS: Final = (
    sa.select(channels.c.lane_id, sa.func.max(channels.c.failures).label("fails"))
    .where(channels.c.lane_id.in_(sa.bindparam("lanes", expanding=True)))
    .group_by(channels.c.lane_id)
)
_OF_CHANNEL: Final = sa.select(deliveries.c.id).where(OF_DELIVERY).correlate(channels)
_END_UNUSED: Final = sa.delete(channels).where(
    FAILS,
    # heads, and deliveries in flight: each by its index
    ~_OF_CHANNEL.where(deliveries.c.is_head).exists(),
    ~_OF_CHANNEL.where(deliveries.c.worker_id.is_not(None)).exists(),
)
"""Ends failing channels in which nothing is queued; that of a replaced key would never recover."""
_WORKS: Final = (
    sa.update(lanes)
    .where(lanes.c.id == sa.bindparam("lane"))
    .values(state=LaneState.HEALTHY, due=sa.bindparam("now"), budgets=sa.bindparam("used"))
)
_POSTPONE: Final = (
    sa.update(lanes).where(lanes.c.id == sa.bindparam("lane")).values(due=sa.bindparam("moment"))
)
_LEASED: Final = (
    sa.update(lanes)
    .where(lanes.c.id == sa.bindparam("lane"))
    .values(due=sa.bindparam("now"), leased_at=sa.bindparam("now"))
)
_NAMED: Final = sa.update(channels).where(
    channels.c.lane_id == sa.bindparam("lane"),
    channels.c.name.in_(sa.bindparam("names", expanding=True)),
)
_NEW: Final = sa.insert(channels)
