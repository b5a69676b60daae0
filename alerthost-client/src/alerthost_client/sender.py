"""Post batches: retry as the answers say, and split a batch that is rejected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from alerthost_client.alert import LONGEST_SHOWN
from alerthost_client.batch import Batch, Record, Rejection
from alerthost_client.limited_log import LimitedLog
from alerthost_client.transport import Answer, Kind, Transport

FIRST_PAUSE = 0.1
"""Seconds after the first failed attempt; they double with each further one."""

LONGEST_PAUSE = 10.0

_FAILURE = "failed attempts"

_log = logging.getLogger("alerthost_client")


class Sender:
    """Posts one batch at a time.

    Args:
        transport: makes the attempts.
        pause: waits for some seconds; returns whether to give up.
        log: for failed attempts.

    Attributes:
        failures: failed attempts since the last answer that was no failure.
    """

    def __init__(
        self, transport: Transport, pause: Callable[[float], bool], log: LimitedLog
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._log = log
        self.failures = 0

    def post(self, batch: Batch) -> Sequence[Rejection] | None:
        """Post a batch until each of its alerts is accepted or rejected; return the rejected ones.

        The halves of a rejected batch are posted one after the other, so that a faulty alert
        costs no other one, and the order is kept.

        Returns:
            None if `pause` gave up; the batch may have been accepted in part.
        """
        rejections: list[Rejection] = []
        spans = [(0, len(batch.records))] if batch.records else []
        while spans:
            first, last = spans.pop()
            whole = last - first == len(batch.records)
            key = batch.key if whole else f"{batch.key}.{first}-{last}"
            answer = self._post(batch.records[first:last], key)
            if answer is None:
                return None
            if answer.kind is Kind.REJECTED and last - first > 1:
                middle = (first + last) // 2
                spans += [(middle, last), (first, middle)]
            elif answer.kind is Kind.REJECTED:
                record = batch.records[first]
                rejections.append(Rejection(record, answer.reason))
        return rejections

    def _post(self, records: Sequence[Record], key: str) -> Answer | None:
        body = b"".join(record.line for record in records)
        while True:
            answer = self._transport.post(body, key)
            if answer.kind in {Kind.ACCEPTED, Kind.REJECTED}:
                if self.failures:
                    self._log.end(_FAILURE)
                    _log.info("alerthost answers again, after %d attempts", self.failures)
                    self.failures = 0
                return answer
            self.failures += 1
            self._log_failure(answer)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures - 1, 10))
            if self._pause(pause if answer.retry_after is None else answer.retry_after):
                return None

    def _log_failure(self, answer: Answer) -> None:
        level = logging.ERROR if answer.kind is Kind.MISCONFIGURED else logging.WARNING
        text = f"alerthost at {self._transport.url} accepts no alerts, retrying: {answer.reason}"
        self._log.write(level, _FAILURE, text)


def log_rejection(rejection: Rejection) -> None:
    """Log an alert that is not posted again."""
    line = rejection.record.line.decode("utf-8", "replace").strip()
    _log.error("alert lost: %s: %s", rejection.reason, line[:LONGEST_SHOWN])
