"""Reads and schedules lanes, one for each destination of an installation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from alerthost.outbox.retry_policy import LaneState
from alerthost.outbox.unit_of_work import UnitOfWork
from alerthost.store.tables import channels, lanes
from hostspec.delivery import IncidentRef


def lane_of(connection: sa.Connection, ref: IncidentRef) -> int:
    """Return the row of the lane of an incident; insert the lane if it is new."""
    key = {"installation": ref.installation, "destination": ref.destination}
    query = sa.select(lanes.c.id).filter_by(**key)
    found = connection.execute(query).scalar()
    if found is None:
        connection.execute(_NEW_LANE, key)
        found = connection.execute(query).scalar_one()
    return int(found)


def wake(uow: UnitOfWork, lane: int) -> None:
    """Schedule a lane for now; if it fails, for the next moment that allows a first attempt."""
    wake_all(uow, [lane])


def wake_all(uow: UnitOfWork, numbers: Collection[int]) -> None:
    """Schedule lanes as `wake` does, in the order in which they are locked."""
    uow.connection.execute(_WAKE, [{"lane": lane, "now": uow.now} for lane in sorted(numbers)])


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
    sa.update(lanes)
    .where(
        lanes.c.id == sa.bindparam("lane"),
        sa.or_(lanes.c.due.is_(None), lanes.c.due > _SOON),
    )
    .values(due=_SOON)
)
_NEW_LANE: Final = sa.text(
    "INSERT INTO lanes (installation, destination) VALUES (:installation, :destination)"
    " ON CONFLICT (installation, destination) DO NOTHING"
)
