"""Expected heartbeats: signs of life of other programs. Pure.

A heartbeat that is missed fires, and the next one resolves.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

import attrs

from hostspec.alert import Alert, Identity, Severity, Status


@attrs.frozen(eq=False, kw_only=True)
class ExpectedHeartbeat:
    """A sign of life that is expected again and again.

    Attributes:
        key: identifies it.
        every: the longest time between two of them, in seconds.
        grace: seconds that one may be late.
        severity: of the alert about a missed one.
        summary: of that alert; empty for a default.
        scope: of that alert.
        labels: of that alert.
        matches: decides whether a firing alert is this sign of life; None for none.
    """

    key: str
    every: float
    grace: float
    severity: Severity = Severity.ERROR
    summary: str = ""
    scope: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    matches: Callable[[Alert], bool] | None = None

    @property
    def period(self) -> float:
        """Seconds after which it is missed."""
        return self.every + self.grace

    @property
    def identity(self) -> Identity:
        """The alert about a missed one."""
        return identity_of(self.scope, self.key)

    def is_fed_by(self, alert: Alert) -> bool:
        """Check whether a firing alert is this sign of life."""
        return alert.status is Status.FIRING and self.matches is not None and self.matches(alert)

    def missed(self, heard_at: float | None, now: float) -> Alert:
        """Return the alert about a missed one."""
        heard = "never heard" if heard_at is None else f"last heard at {_moment(heard_at)} UTC"
        return Alert(
            self.identity.key,
            self.summary or f"Heartbeat {self.key} is missing: {heard}",
            severity=self.severity,
            scope=self.scope,
            source=self.key,
            class_="heartbeat",
            started_at=dt.datetime.fromtimestamp(now, dt.UTC),
            labels={"heartbeat": self.key, **self.labels},
            details={
                "last_heard": None if heard_at is None else f"{_moment(heard_at)} UTC",
                "every": f"{self.every:,.0f} s",
                "grace": f"{self.grace:,.0f} s",
            },
        )


@attrs.frozen
class HeartbeatRow:
    """An expected heartbeat as it is listed; times are seconds of the epoch.

    Attributes:
        heard_at: None if it was never heard.
        due: when it is missed; None while it is missed, or before an engine expects it.
        missed_at: None unless it is missed.
    """

    heartbeat: ExpectedHeartbeat
    heard_at: float | None = None
    due: float | None = None
    missed_at: float | None = None

    @property
    def state(self) -> str:
        """In one word."""
        if self.missed_at is not None:
            return "missed"
        return "awaited" if self.heard_at is None else "heard"


def remark_of(fed: Iterable[ExpectedHeartbeat]) -> str:
    """Return why an alert that feeds heartbeats starts no action."""
    return f"feeds the heartbeat {', '.join(each.key for each in fed)}"


def identity_of(scope: str, key: str) -> Identity:
    """Return the alert about a missed heartbeat."""
    return Identity(scope, f"heartbeat/{key}")


def _moment(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M:%S}"
