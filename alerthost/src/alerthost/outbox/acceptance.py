"""Accepts alerts: they are on the disk before a call returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence

import attrs
import sqlalchemy as sa

from alerthost.outbox import inbox
from alerthost.outbox.dispatcher import Dispatcher
from alerthost.outbox.group_commit import SubmissionWriter
from alerthost.outbox.submission import check_ids, new_id
from alerthost.outbox.timing import lifetime_of
from alerthost.outbox.workers import StoreHealth
from alerthost.store.database import Database
from alerthost.store.errors import LostCommitError, ReentryError, StoreError, UnstorableError
from hostspec.alert import Alert


@attrs.frozen(eq=False, kw_only=True)
class Acceptance:
    """Accepts alerts for one engine; see `alerthost.outbox.engine.Engine.accept_many`.

    Attributes:
        lanes_of: returns the lanes of what an alert opens.
    """

    database: Database
    clock: Callable[[], float]
    writer: SubmissionWriter
    dispatcher: Dispatcher
    health: StoreHealth
    lanes_of: Callable[[Alert], Iterable[inbox.Lane]]

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
        now = self.clock()
        moment = dt.datetime.fromtimestamp(now, dt.UTC)
        submitted = zip(ids, (alert.as_of(moment) for alert in alerts), strict=True)
        turns = connection is None and (len(alerts) > inbox.BATCH or self.dispatcher.is_behind())
        rows = inbox.build_rows(submitted, now, self.lanes_of if turns else None)
        for row, expires in zip(rows, expires_at or (None for _ in rows), strict=True):
            row["lifetime"] = lifetime_of(expires, moment)
        if connection is not None:
            inbox.accept(connection, rows)
            return ids
        self._write(rows)
        self.dispatcher.note_accepted()
        return ids

    def _write(self, rows: Sequence[inbox.Row]) -> None:
        try:
            self.writer.write(rows)
            try:
                self.database.verify()
            except StoreError as error:
                raise LostCommitError(str(error)) from error
        except (ReentryError, UnstorableError):
            raise  # the store works
        except StoreError as error:
            self.health.note_failure(error)
            raise
