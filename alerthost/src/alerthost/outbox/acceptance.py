"""Accepts alerts and signs of life: they are on the disk before a call returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs
import sqlalchemy as sa

from alerthost.outbox import heartbeat_store, inbox
from alerthost.outbox.dispatcher import Dispatcher
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from alerthost.outbox.group_commit import Resources, SubmissionWriter
from alerthost.outbox.submission import check_ids, new_id
from alerthost.outbox.timing import lifetime_of
from alerthost.outbox.workers import StoreHealth
from alerthost.store.errors import LostCommitError, ReentryError, StoreError, UnstorableError
from hostspec.alert import Alert
from hostspec.text import unknown_name

_T = TypeVar("_T")


class UnknownHeartbeatError(ValueError):
    """No heartbeat with this key is expected."""


@attrs.frozen(eq=False, kw_only=True)
class Acceptance:
    """Accepts alerts for one engine; see `alerthost.outbox.engine.Engine.accept_many`.

    Attributes:
        lanes_of: returns the lanes of what an alert opens.
        heartbeats: the expected ones, by key.
    """

    resources: Resources
    writer: SubmissionWriter
    dispatcher: Dispatcher
    health: StoreHealth
    lanes_of: Callable[[Alert], Iterable[inbox.Lane]]
    heartbeats: Mapping[str, ExpectedHeartbeat]

    def accept(
        self,
        alerts: Sequence[Alert],
        submission_ids: Sequence[str] | None,
        expires_at: Sequence[dt.datetime | None] | None,
        connection: sa.Connection | None,
    ) -> tuple[str, ...]:
        """Accept all alerts or none; return the ids of their submissions."""
        ids = tuple(submission_ids or (new_id() for _ in alerts))
        check_ids(ids)
        now = self.resources.clock()
        moment = dt.datetime.fromtimestamp(now, dt.UTC)
        submitted = zip(ids, (alert.as_of(moment) for alert in alerts), strict=True)
        turns = connection is None and (len(alerts) > inbox.BATCH or self.dispatcher.is_behind())
        rows = inbox.build_rows(submitted, now, self.lanes_of if turns else None)
        for row, expires in zip(rows, expires_at or (None for _ in rows), strict=True):
            row["lifetime"] = lifetime_of(expires, moment)
        if connection is not None:
            inbox.accept(connection, rows)
            return ids
        self._durably(lambda: self.writer.write(rows))
        self.dispatcher.note_accepted()
        return ids

    def hear(self, key: str) -> float:
        """Record a sign of life; return when the next one is missed, in seconds of the epoch."""
        heartbeat = self.heartbeats.get(key)
        if heartbeat is None:
            raise UnknownHeartbeatError(unknown_name(key, self.heartbeats, "the heartbeat"))
        due = self._durably(
            lambda: self.resources.run(lambda uow: heartbeat_store.hear(uow, heartbeat))
        )
        self.dispatcher.note_accepted()
        return due

    def _durably(self, write: Callable[[], _T]) -> _T:
        """Write, and check that the database is still there."""
        try:
            written = write()
            try:
                self.resources.database.verify()
            except StoreError as error:
                raise LostCommitError(str(error)) from error
        except (ReentryError, UnstorableError):
            raise  # the store works
        except StoreError as error:
            self.health.note_failure(error)
            raise
        return written
