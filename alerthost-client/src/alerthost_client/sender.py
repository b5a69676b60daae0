"""Post one batch: retry as the answers say, and split a batch that is rejected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from alerthost_client.alert import LONGEST_SHOWN
from alerthost_client.batch import Progress, Record, Rejection, body_of
from alerthost_client.limited_log import LimitedLog
from alerthost_client.transport import Answer, Kind, Transport

FIRST_PAUSE = 0.1
"""Seconds after the first failed attempt; they double with each further one."""

LONGEST_PAUSE = 10.0

MOST_FAILURES = 3
"""Attempts at which alerthost fails before a batch is split."""

_FAILURE = "failed attempts"

_log = logging.getLogger("alerthost_client")


class Sender:
    """Posts one batch at a time.

    Args:
        transport: makes the attempts.
        pause: waits for some seconds; returns whether to give up.
        release: lets other processes post the batch meanwhile.
        log: for failed attempts.

    Attributes:
        failures: failed attempts since the last answer that was no failure.
    """

    def __init__(
        self,
        transport: Transport,
        pause: Callable[[float], bool],
        release: Callable[[], None],
        log: LimitedLog,
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._release = release
        self._log = log
        self.failures = 0

    def post(self, key: str, ready: Sequence[Record]) -> Progress | None:
        """Post alerts until each is accepted, rejected, or refused for now.

        The halves of a body that is rejected, or at which alerthost fails, are posted one after
        the other, so that one alert costs no other one. An alert stays behind the refused ones of
        its identity.

        Args:
            key: of their batch.
            ready: alerts of the batch, in order.

        Returns:
            None if alerthost accepts no alerts now, or `pause` gave up; some may have been
            accepted. The batch is to be taken again, as another process may have posted it.
        """
        progress = Progress()
        refused: set[tuple[str, str]] = set()
        spans = [ready] if ready else []
        while spans:
            records: Sequence[Record] = spans.pop()
            if refused:
                states = [(each, each.read().identity) for each in records]
                progress.refused += [each for each, identity in states if identity in refused]
                records = [each for each, identity in states if identity not in refused]
            tries = MOST_FAILURES if records is ready else 1
            answer = self._post(key, records, tries) if records else Answer(Kind.ACCEPTED)
            if answer is None:
                return None
            if answer.kind is Kind.ACCEPTED:
                held_back = _sort(records, answer, progress)
            elif len(records) > 1:
                middle = len(records) // 2
                spans += [records[middle:], records[:middle]]
                continue
            elif answer.kind is Kind.REJECTED:
                progress.rejected.append(Rejection(records[0], answer.reason))
                continue
            else:
                held_back = records
            if held_back:
                progress.refused += held_back
                refused.update(each.read().identity for each in held_back)
                pause = LONGEST_PAUSE if answer.retry_after is None else answer.retry_after
                progress.pause = max(progress.pause, pause)
                text = f"alerthost at {self._transport.url} does not accept some alerts yet"
                text += f", retrying: {answer.reason}"
                self._log.write(logging.WARNING, "alerts that are not accepted yet", text)
        return progress

    def _post(self, key: str, records: Sequence[Record], tries: int) -> Answer | None:
        body = body_of(records)
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
            is_failed = answer.kind is Kind.FAILED
            if not is_failed:
                self._release()  # the address or the token of another process may be right
            gives_up = self._pause(pause if answer.retry_after is None else answer.retry_after)
            if gives_up or not is_failed:
                return None
            if tries <= 1:
                return answer
            tries -= 1

    def _log_failure(self, answer: Answer) -> None:
        level = logging.ERROR if answer.kind is Kind.MISCONFIGURED else logging.WARNING
        text = f"alerthost at {self._transport.url} accepts no alerts, retrying: {answer.reason}"
        self._log.write(level, _FAILURE, text)


def log_rejection(rejection: Rejection) -> None:
    """Log an alert that is not posted again."""
    line = rejection.record.line.decode("utf-8", "replace").strip()
    _log.error("alert lost: %s: %s", rejection.reason, line[:LONGEST_SHOWN])


def _sort(records: Sequence[Record], answer: Answer, progress: Progress) -> Sequence[Record]:
    """Sort alerts that were posted together by their lines; return the refused ones."""
    refused = []
    for each in records:
        if each.number in answer.refused:
            refused.append(each)
        elif each.number in answer.faulty:
            progress.rejected.append(Rejection(each, answer.faulty[each.number]))
        else:
            progress.accepted.append(each)
    return refused
