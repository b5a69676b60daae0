"""Submissions, the results of planning them, and the log of those without deliveries."""

from __future__ import annotations

import enum
import json
import logging
import reprlib
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from hostspec.alert import Alert, Identity
from hostspec.delivery import Suppression
from hostspec.plugins.limited_log import LimitedLog
from hostspec.plugins.planning import LATE_REPEAT
from hostspec.text import clean_text, shorten
from hostspec.values import from_json

LONGEST_LOGGED: Final = 400
"""Most characters of a key or reason that are logged."""

LONGEST_ID: Final = 255
"""Most characters of a submission id, as PostgreSQL indexes it."""

NO_RULE: Final = "no rule matches"
"""The remark on a firing alert without a matching rule."""

NOTHING_OPEN: Final = "no open incident"
"""The remark on an acknowledge or resolve of an alert without an open incident."""

UNKNOWN: Final = "no open incident, and the alert is not known here"
"""The remark on the resolve of an alert that was never submitted before."""

OVER: Final = "its problem is over"
"""Why a replay sends nothing."""

OLDER: Final = "older than the known state"
"""The beginning of the remark on an alert whose `updated_at` is outdated."""

WAITS: Final = "waits until"
"""The beginning of the remark on an alert for which a rule waits whether it still fires."""

STILL_FIRES: Final = "it still fires after the time that a rule waits"
"""Why the engine plans an alert again."""

DEAD: Final = "dead-lettered: the process ended each time that it was planned"
"""The failure of a poison submission."""


class SubmissionOutcome(enum.StrEnum):
    """Why a submission has no delivery, or fewer than its rules ask for."""

    UNMATCHED = "unmatched"
    """No rule matches a firing alert."""
    NO_INCIDENT = "no incident"
    """No incident is open that it could acknowledge or resolve."""
    OUTDATED = "outdated"
    """It repeats a problem that is over, or is older than the known state."""
    WAITING = "waiting"
    """A rule waits whether the alert still fires."""
    SUPPRESSED = "suppressed"
    """A plugin decided that something is not sent."""
    FAILED = "failed"
    """Something could not be planned."""
    DEAD = "dead"
    """Dead-lettered: the process ended each time that it was planned."""
    DISCARDED = "discarded"
    """It was failed or dead, and the operator discarded it."""


@attrs.frozen
class Note:
    """The result of planning a submission, apart from its deliveries.

    Attributes:
        remark: why it has no delivery (no rule matches, say), or fewer because a rule waits; else
            empty.
    """

    remark: str = ""
    failures: tuple[str, ...] = ()
    suppressions: tuple[Suppression, ...] = ()

    @property
    def outcome(self) -> SubmissionOutcome | None:
        """The gravest reason why something was not planned; None if all was."""
        if DEAD in self.failures:
            return SubmissionOutcome.DEAD
        if self.failures:
            return SubmissionOutcome.FAILED
        if self.suppressions:
            return SubmissionOutcome.SUPPRESSED
        if self.remark == LATE_REPEAT or self.remark.startswith(OLDER):
            return SubmissionOutcome.OUTDATED
        if self.remark.startswith(WAITS):
            return SubmissionOutcome.WAITING
        if self.remark in {NOTHING_OPEN, UNKNOWN}:
            return SubmissionOutcome.NO_INCIDENT
        return SubmissionOutcome.UNMATCHED if self.remark == NO_RULE else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each reason."""
        if self.outcome in {SubmissionOutcome.WAITING, SubmissionOutcome.NO_INCIDENT}:
            return (self.remark,)
        if self.outcome in {SubmissionOutcome.UNMATCHED, SubmissionOutcome.OUTDATED}:
            return (f"{self.remark}, nothing is sent",)
        return (*self.failures, *map(describe, self.suppressions))


def describe(suppression: Suppression) -> str:
    """Describe a suppression: action, installation, plugin and reason."""
    by = f" by {suppression.plugin}" if suppression.plugin else ""
    where = f"{suppression.action} {suppression.installation}"
    return f"{where}: suppressed{by}: {suppression.reason}"


@attrs.frozen
class Submission:
    """An accepted alert update.

    Attributes:
        row: its row; the rows of one alert are in the order of their commits.
        submission_id: identifies it; a second one with the same id is ignored.
        replays: the row of the delivery to plan again; None unless it is a replay.
        lifetime: seconds from its acceptance to the expiry of the alert, if the sender gave one.
        cause: why the engine itself accepted it; empty if a sender submitted it.
    """

    row: int
    submission_id: str
    identity: Identity
    body: str
    accepted_at: float
    replays: int | None = None
    lifetime: float | None = None
    cause: str = ""

    def alert(self) -> Alert:
        """Return its alert."""
        return from_json(Alert, json.loads(self.body))


class PlannedLog:
    """Logs why submissions have no deliveries, or fewer.

    Each failure and suppressing plugin is logged at most once a minute; other outcomes once a
    minute for each scope.
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
        alert = f"alert {shorten(str(submission.identity), LONGEST_LOGGED)}"
        for failure in note.failures:
            text = shorten(failure, LONGEST_LOGGED)
            self._log.write(text, "failed", f"{alert}: {text}", logging.ERROR)
        for each in note.suppressions:
            source = f"{each.plugin} {each.action} {each.installation}"
            self._log.write(
                shorten(source, LONGEST_LOGGED),
                "suppressed",
                f"{alert}: {shorten(describe(each), LONGEST_LOGGED)}",
            )
        scope = shorten(submission.identity.scope, LONGEST_LOGGED)
        match note.outcome:
            case SubmissionOutcome.UNMATCHED | SubmissionOutcome.OUTDATED as outcome:
                self._log.write(scope, outcome, f"{alert}: {outcome}: {note.reasons[0]}")
            case SubmissionOutcome.WAITING as outcome:
                text = f"{alert}: {shorten(note.remark, LONGEST_LOGGED)}"
                self._log.write(scope, outcome, text, logging.INFO)
            case SubmissionOutcome.NO_INCIDENT as outcome:
                text = f"{alert}: nothing is sent: {note.remark}"
                self._log.write(scope, outcome, text, logging.INFO, kind=note.remark)

    def flush(self, *, everything: bool = False) -> None:
        """Log how many lines were skipped in past minutes, or in all."""
        self._log.flush(everything=everything)


def new_id() -> str:
    """Return a new submission id: the time and 64 random bits, so that indexes grow at the end."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


def check_ids(submission_ids: Iterable[object]) -> None:
    """Check that every database can store submission ids.

    Raises:
        ValueError: names the invalid ones.
    """
    wrong = ", ".join(reprlib.repr(each) for each in submission_ids if not _is_id(each))
    if wrong:
        message = (
            f"invalid submission ids: {wrong}; use 1 to {LONGEST_ID} characters, without NUL or"
            " lone surrogates"
        )
        raise ValueError(message)


def _is_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_ID and clean_text(name) == name
