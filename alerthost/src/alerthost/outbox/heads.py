"""Finds the heads of lanes: the deliveries that may be sent next, one of each incident.

However many are queued, each query reads few rows of an index. In a lane where a channel fails, the
heads of each channel are read apart, so that those of the failing one are not read at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, lane_store, rate_limit_store
from alerthost.outbox.retry_policy import LONGEST_PAUSE, LaneState
from alerthost.store.tables import URGENT, channels, deliveries, incidents, lanes
from hostspec.delivery import IncidentRef

LOOK: Final = 64
"""Most heads of one lane that are looked through for one that may be sent."""

LOOK_AGAIN: Final = 0.5
"""Seconds after which a lane is checked again in which nothing may be sent now."""

FAR: Final = LONGEST_PAUSE + 60.0
"""Seconds: nothing is due later than that, so a later moment means that the clock went back."""


@attrs.frozen(eq=False)
class Heads:
    """The heads of some lanes that are due; each row with its channel, budgets and incident.

    Attributes:
        lanes: the rows of the lanes.
    """

    _connection: sa.Connection
    _now: float
    lanes: Sequence[int]
    _failing: Mapping[int, Sequence[Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        failing = self._connection.execute(lane_store.FAILING, {"lanes": self.lanes})
        object.__setattr__(self, "_failing", by_lane(failing))

    def most_urgent(self, most: int) -> Mapping[int, Sequence[Any]]:
        """Return the most urgent heads of each lane whose channels work."""
        plain = [lane for lane in self.lanes if lane not in self._failing]
        found = {**by_lane(self._rows(self._first_of(plain, most)))}
        return found | {lane: self._of_working_channels(lane, most) for lane in self._failing}

    def more(self, lane: int) -> Sequence[Any]:
        """Return more heads of one lane: others may go where the first ones cannot.

        They are from other budgets, or urgent.
        """
        names = None if lane not in self._failing else self._working_channels(lane)
        urgent = _URGENT_HEAD if names is None else _URGENT_OF_CHANNELS
        which = {**self._moment, "lane": lane, "names": names or ()}
        found = self._connection.execute(urgent, which).scalars().all()
        first = self._first_of([lane], LOOK) if names is None else None
        rows = self._of_working_channels(lane, LOOK) if first is None else self._rows(first)
        return (*rows, *self._rows(found))

    def probes(self, lane: int) -> Sequence[Any]:
        """Return one head of each failing channel of a lane that may be tried now.

        An attempt shows whether the channel works again: one that was never tried, if it may.
        """
        numbers: list[int] = []
        for channel in self._failing.get(lane, ()):
            which = {**self._moment, "lane": lane, "name": channel.name, "most": 1}
            for tried, due in ((_UNTRIED, channel.first_due), (_TRIED, channel.due)):
                found = (
                    self._connection.execute(tried, which).scalars() if self._is_due(due) else ()
                )
                if number := next(iter(found), None):
                    numbers.append(number)
                    break
        return self._rows(numbers) if numbers else ()

    def soonest(self, lanes_: Sequence[int]) -> Mapping[int, float | None]:
        """Return when lanes in which nothing may be sent now are to be looked at again.

        Never too late; None where nothing is queued.
        """
        found: dict[int, float | None] = dict.fromkeys(lanes_)
        for row in self._connection.execute(_LATER, {**self._moment, "lanes": lanes_}):
            if row.some is None:
                continue
            failing = self._failing.get(row.id, ())
            moments = (row.later, *(m for each in failing for m in (each.first_due, each.due)))
            later = (m for m in moments if m is not None and self._now < m <= self._now + FAR)
            found[row.id] = min(later, default=self._now + LOOK_AGAIN)
        return found

    def _first_of(self, lanes_: Sequence[int], most: int) -> Sequence[int]:
        if not lanes_:
            return ()
        first = _FIRST_HEADS[backend.is_server(self._connection)]
        which = {**self._moment, "lanes": lanes_, "most": most}
        return self._connection.execute(first, which).scalars().all()

    def _of_working_channels(self, lane: int, most: int) -> Sequence[Any]:
        """Return the most urgent heads of a lane with a failing channel, of the other ones."""
        numbers = [
            number
            for name in self._working_channels(lane)
            for tried in (_UNTRIED, _TRIED)
            for number in self._connection.execute(
                tried, {**self._moment, "lane": lane, "name": name, "most": most}
            ).scalars()
        ]
        return self._rows(numbers)[:most] if numbers else ()

    def _working_channels(self, lane: int) -> Sequence[str]:
        """Return the names of the channels of queued deliveries that do not fail."""
        failing = {channel.name for channel in self._failing[lane]}
        names = self._connection.execute(_CHANNELS, {"lane": lane}).scalars()
        return [name for name in names if name not in failing]

    def _rows(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Return heads by their rows, the most urgent first."""
        if not numbers:
            return ()
        return self._connection.execute(_HEADS, {"numbers": numbers}).all()

    @property
    def _moment(self) -> Mapping[str, Any]:
        return {"now": self._now, "far": self._now + FAR}

    def _is_due(self, moment: float) -> bool:
        return not self._now < moment <= self._now + FAR


def by_lane(rows: Iterable[Any]) -> Mapping[int, list[Any]]:
    """Group rows by their lanes."""
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.lane_id, []).append(row)
    return found


def is_due(moment: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Return the condition that a moment has come, or that the clock went back."""
    return sa.or_(moment <= sa.bindparam("now"), moment > sa.bindparam("far"))


_BY_URGENCY: Final = (deliveries.c.urgency, deliveries.c.id)
_HEADS: Final = (
    sa.select(
        *(
            deliveries.c[name]
            for name in (
                *("id", "lane_id", "channel", "urgency", "operation", "severity"),
                *("attempts", "tried_at"),
            )
        ),
        *(incidents.c[each.name] for each in attrs.fields(IncidentRef)),
        rate_limit_store.NAMES.label("spends"),
        channels.c.id.label("channel_id"),
        sa.func.coalesce(channels.c.failures, 0).label("failures"),
        sa.func.coalesce(channels.c.state, LaneState.HEALTHY).label("channel_state"),
    )
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .join(lanes, lanes.c.id == deliveries.c.lane_id)
    .outerjoin(channels, lane_store.OF_DELIVERY)
    .where(deliveries.c.id.in_(sa.bindparam("numbers", expanding=True)))
    .order_by(*_BY_URGENCY)
)
_DUE: Final = sa.select(deliveries.c.id).where(deliveries.c.is_head, is_due(deliveries.c.due))
_IN_LANE: Final = _DUE.where(deliveries.c.lane_id == sa.bindparam("lane"))
_URGENT_HEAD: Final = _IN_LANE.where(URGENT).order_by(*_BY_URGENCY).limit(1)
_URGENT_OF_CHANNELS: Final = _URGENT_HEAD.where(
    deliveries.c.channel.in_(sa.bindparam("names", expanding=True))
)
_IN_CHANNEL: Final = _IN_LANE.where(deliveries.c.channel == sa.bindparam("name"))
_UNTRIED: Final = (
    _IN_CHANNEL.where(deliveries.c.attempts == 0).order_by(*_BY_URGENCY).limit(sa.bindparam("most"))
)
_TRIED: Final = (
    _IN_CHANNEL.where(deliveries.c.attempts > 0)
    .order_by(deliveries.c.attempts, *_BY_URGENCY)
    .limit(sa.bindparam("most"))
)
_FIRST_OF_LANE: Final = (
    _DUE.where(deliveries.c.lane_id == lanes.c.id)
    .order_by(*_BY_URGENCY)
    .limit(sa.bindparam("most"))
    .correlate(lanes)
)


def _first_heads(*, server: bool) -> sa.Select[Any]:
    """Return the query for the first heads of each of some lanes: each lane by the index."""
    of_lanes = lanes.c.id.in_(sa.bindparam("lanes", expanding=True))
    if server:
        first = _FIRST_OF_LANE.lateral()
        return sa.select(first.c.id).select_from(sa.join(lanes, first, sa.true())).where(of_lanes)
    head = deliveries.alias("head")
    return (
        sa.select(head.c.id)
        .select_from(sa.join(lanes, head, head.c.id.in_(_FIRST_OF_LANE)))
        .where(of_lanes)
    )


_FIRST_HEADS: Final = {server: _first_heads(server=server) for server in (False, True)}


def _channels_of_lane() -> sa.Select[Any]:
    """Return the query for the channels of a lane's heads, without a scan of those between them."""
    heads = sa.and_(deliveries.c.lane_id == sa.bindparam("lane"), deliveries.c.is_head)
    least = sa.select(sa.func.min(deliveries.c.channel).label("name")).where(heads)
    first = least.cte("names", recursive=True)
    following = least.where(deliveries.c.channel > first.c.name).correlate(first)
    names = first.union_all(sa.select(following.scalar_subquery()).where(first.c.name.is_not(None)))
    return sa.select(names.c.name).where(names.c.name.is_not(None))


_CHANNELS: Final = _channels_of_lane()
_OF_LANE: Final = sa.and_(deliveries.c.lane_id == lanes.c.id, deliveries.c.is_head)
_LATER: Final = sa.select(
    lanes.c.id,
    sa.select(deliveries.c.due)
    .where(
        _OF_LANE, deliveries.c.due > sa.bindparam("now"), deliveries.c.due <= sa.bindparam("far")
    )
    .order_by(deliveries.c.due)
    .limit(1)
    .correlate(lanes)
    .scalar_subquery()
    .label("later"),
    sa.select(deliveries.c.id)
    .where(_OF_LANE)
    .limit(1)
    .correlate(lanes)
    .scalar_subquery()
    .label("some"),
).where(lanes.c.id.in_(sa.bindparam("lanes", expanding=True)))
