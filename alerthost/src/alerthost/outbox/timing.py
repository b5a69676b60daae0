"""Due times of alerts: when they expire. Pure.

All times are seconds of the epoch, durations are seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
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
    """

    expire_after: float | None = None


@attrs.frozen
class AlertTimes:
    """The due times of an alert.

    Attributes:
        expires_at: when it is resolved unless it is reported again; None for never.
        lifetime: from its last report to that moment.
    """

    expires_at: float | None = None
    lifetime: float | None = None

    def after(
        self, status: Status, reported_at: float, lifetime: float | None, rules: Iterable[Rule]
    ) -> AlertTimes:
        """Return the times after a report of the alert.

        Args:
            status: as reported.
            reported_at: when it was accepted.
            lifetime: of the alert itself, which precedes that of the rules; None for none.
            rules: that match it; the longest of their durations counts. An acknowledgement asks no
                rule, and keeps the lifetime of the last report.
        """
        if status is Status.RESOLVED:
            return NOTHING_DUE
        if lifetime is None:
            timed = (rule.expire_after for rule in rules if isinstance(rule, TimedRule))
            firing = status is Status.FIRING
            lifetime = max(filter(None, timed), default=None) if firing else self.lifetime
        if lifetime is None:
            return NOTHING_DUE
        return AlertTimes(reported_at + lifetime, lifetime)


NOTHING_DUE: Final = AlertTimes()
