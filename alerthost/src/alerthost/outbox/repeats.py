"""Reports that only repeat the known state of an alert: they renew its expiry, and plan nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from alerthost.outbox.backend import UnitOfWork, lock
from alerthost.outbox.group_commit import Resources
from alerthost.outbox.serialisation import digest
from alerthost.outbox.timing import lifetime_of
from alerthost.store.tables import PENDING, alerts, holders, incidents, submissions
from hostspec.alert import Alert, Status

PLAN_AGAIN: Final = 4 * 3600.0
"""Seconds after which a repeat is planned again, though an incident is open: it may have been
closed by hand. It is Alertmanager's default `repeat_interval`."""

PLAN_AGAIN_UNSENT: Final = 900.0
"""Seconds after which a repeat is planned again of an alert without an open incident: a plugin may
have suppressed it for a while."""


class Repeats:
    """Recognises repeats, for a sender that reports all its alerts again and again.

    Each alert is planned at least once with the rules of this engine.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._since: float | None = None

    def renew(
        self, reports: Sequence[Alert], expires_at: Sequence[dt.datetime | None]
    ) -> Sequence[bool]:
        """Renew the expiry of repeated alerts; see `alerthost.outbox.engine.Engine.renew`."""
        if not reports:
            return ()
        return self._resources.run(lambda uow: self._renew(uow, reports, expires_at))

    def _renew(
        self, uow: UnitOfWork, reports: Sequence[Alert], expires_at: Sequence[dt.datetime | None]
    ) -> Sequence[bool]:
        since = self._since = uow.now if self._since is None else self._since
        lock(uow.connection, {each.identity for each in reports})
        names = [digest(each.identity) for each in reports]
        rows: Sequence[Any] = uow.connection.execute(_KNOWN, {"digests": names}).all()
        known = {row.digest: row for row in rows}
        repeated = [
            name in known and _is_repeat(known[name], each, since, uow.now)
            for name, each in zip(names, reports, strict=True)
        ]
        moment = dt.datetime.fromtimestamp(uow.now, dt.UTC)
        renewed = []
        for name, each, expires, is_repeat in zip(
            names, reports, expires_at, repeated, strict=True
        ):
            lifetime = lifetime_of(expires, moment)
            if is_repeat and each.status is Status.FIRING:
                due = None if lifetime is None else uow.now + lifetime
                renewed.append({"name": name, "due": due, "seconds": lifetime})
        if renewed:
            uow.connection.execute(_RENEW, renewed)
        return repeated


def _is_repeat(row: sa.Row[Any], alert: Alert, since: float, now: float) -> bool:
    """Check that planning a report would change nothing."""
    over = row.status == Status.RESOLVED
    if row.is_pending or over != (alert.status is Status.RESOLVED):
        return False
    patience = PLAN_AGAIN if over or row.is_open else PLAN_AGAIN_UNSENT
    return bool(max(since, now - patience) <= row.seen_at <= now)


_IS_PENDING: Final = (
    sa.select(submissions.c.id).where(PENDING, submissions.c.digest == alerts.c.digest).exists()
)
_IS_OPEN: Final = (
    sa.select(holders.c.incident_id)
    .join(incidents, incidents.c.id == holders.c.incident_id)
    .where(holders.c.digest == alerts.c.digest, incidents.c.active)
    .exists()
)
_KNOWN: Final = sa.select(
    alerts.c.digest,
    alerts.c.status,
    alerts.c.seen_at,
    _IS_PENDING.label("is_pending"),
    _IS_OPEN.label("is_open"),
).where(alerts.c.digest.in_(sa.bindparam("digests", expanding=True)))
_RENEW: Final = (
    sa.update(alerts)
    .where(alerts.c.digest == sa.bindparam("name"))
    .values(
        expires_at=sa.bindparam("due", type_=sa.Double()),
        lifetime=sa.bindparam("seconds", type_=sa.Double()),
    )
)
