"""Due times of alerts: when they expire, and how long rules wait. Pure.

All times are seconds of the epoch, durations are seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from hostspec.alert import Status
from hostspec.plugins import Rule

LEAST_LIFETIME: Final = 60.0
"""Shortest time from the acceptance of an alert to its expiry: a wrong clock of its sender must not
resolve it at once."""


def lifetime_of(expires_at: dt.datetime | None, now: dt.datetime) -> float | None:
    """Return the seconds from the acceptance of an alert to its expiry; None for no expiry."""
    if expires_at is None:
        return None
    return max(LEAST_LIFETIME, (expires_at - now).total_seconds())


@attrs.frozen(eq=False)
class TimedRule(Rule):
    """A rule with durations.

    Attributes:
        expire_after: an alert that it matches expires when it was not reported for so long; None
            for never.
        wait: it starts its actions only for an alert that still fires after so long.
    """

    expire_after: float | None = None
    wait: float = 0.0


@attrs.frozen
class AlertTimes:
    """The due times of an alert.

    Attributes:
        expires_at: when it is resolved unless it is reported again; None for never.
        lifetime: from its last report to that moment.
        fires_since: when its first firing report was planned, if any rule waits; None unless it
            fires or is acknowledged.
        waits_until: when the first of the waiting rules is asked again; None if none waits.
        waiting: names of the waiting rules.
        row: of the submission that is planned again then.
    """

    expires_at: float | None = None
    lifetime: float | None = None
    fires_since: float | None = None
    waits_until: float | None = None
    waiting: tuple[str, ...] = ()
    row: int | None = None

    def reported(
        self, status: Status, at: float, lifetime: float | None, rules: Iterable[Rule]
    ) -> AlertTimes:
        """Return the times after a report of the alert that is not its resolve.

        Args:
            status: as reported.
            at: now; the report may have been accepted before a downtime.
            lifetime: of the alert itself, which precedes that of the rules; None for none.
            rules: that match it; the longest of their durations counts. An acknowledgement asks no
                rule, and keeps the lifetime of the last report.
        """
        if lifetime is None:
            timed = (rule.expire_after for rule in rules if isinstance(rule, TimedRule))
            firing = status is Status.FIRING
            lifetime = max(filter(None, timed), default=None) if firing else self.lifetime
        if lifetime is None and self.lifetime is None:
            return self
        expires_at = None if lifetime is None else at + lifetime
        return attrs.evolve(self, expires_at=expires_at, lifetime=lifetime)

    def wait(self, since: float | None, rules: Sequence[TimedRule], row: int) -> AlertTimes:
        """Return the times of an alert that fires since a moment while rules wait."""
        if since is None:
            return self
        if not rules:
            return attrs.evolve(self, fires_since=since, waits_until=None, waiting=(), row=None)
        return attrs.evolve(
            self,
            fires_since=since,
            waits_until=since + min(rule.wait for rule in rules),
            waiting=tuple(rule.name for rule in rules),
            row=row,
        )


NOTHING_DUE: Final = AlertTimes()
