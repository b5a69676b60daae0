"""Logs submissions without deliveries and blocked lanes, at a limited rate."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from alerthost.outbox.leasing import Lease
from alerthost.outbox.submission import Note, Submission, SubmissionOutcome, describe
from hostspec.delivery import Outcome, OutcomeKind
from hostspec.plugins.limited_log import LimitedLog
from hostspec.text import shorten

LONGEST: Final = 400
"""Most characters of a key or reason that are logged."""


class PlannedLog:
    """Logs why submissions have no deliveries, or fewer.

    Each failure, suppressing plugin, and scope of unmatched or outdated alerts is logged at most
    once a minute.

    Args:
        watch: called with each planned submission and its note.
    """

    def __init__(self, watch: Callable[[Submission, Note], None] | None = None) -> None:
        self._log = LimitedLog(logging.getLogger("hostspec.planning"))
        self._watch = watch

    def write(self, submission: Submission, note: Note) -> None:
        """Log the note of a submission that was just planned."""
        self._log_note(submission, note)
        if self._watch is not None:
            self._watch(submission, note)

    def _log_note(self, submission: Submission, note: Note) -> None:
        if note.outcome is None:
            return
        alert = f"alert {shorten(str(submission.identity), LONGEST)}"
        for failure in note.failures:
            text = shorten(failure, LONGEST)
            self._log.write(text, "failed", f"{alert}: {text}", logging.ERROR)
        for each in note.suppressions:
            source = f"{each.plugin} {each.action} {each.installation}"
            self._log.write(
                shorten(source, LONGEST),
                "suppressed",
                f"{alert}: {shorten(describe(each), LONGEST)}",
            )
        if note.outcome in {SubmissionOutcome.UNMATCHED, SubmissionOutcome.OUTDATED}:
            scope = shorten(submission.identity.scope, LONGEST)
            self._log.write(scope, note.outcome, f"{alert}: {note.outcome}: {note.reasons[0]}")

    def flush(self, *, everything: bool = False) -> None:
        """Log how many lines were skipped in past minutes, or in all."""
        self._log.flush(everything=everything)


_log = logging.getLogger("hostspec")


class BlockedLog:
    """Logs each lane when it is blocked, and when it delivers again."""

    def __init__(self) -> None:
        self._blocked: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def __call__(self, lease: Lease, outcome: Outcome, _: float) -> None:
        """Log if an outcome blocks or unblocks a lane."""
        ref = lease.delivery.ref
        lane = ref.installation, ref.destination
        with self._lock:
            before = self._blocked.get(lane)
            if outcome.kind is OutcomeKind.MISCONFIGURED:
                self._blocked[lane] = outcome.reason
            elif outcome.delivered:
                self._blocked.pop(lane, None)
        name = "/".join(lane)
        if outcome.kind is OutcomeKind.MISCONFIGURED and outcome.reason != before:
            _log.error("%s is blocked until it is repaired: %s", name, outcome.reason)
        elif outcome.delivered and before is not None:
            _log.warning("%s delivers again", name)
