"""How leases end: by an attempt, unused, or by orphaning their incident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from alerthost.outbox import lane_store, notifier, rate_limit_store
from alerthost.outbox.attempts import PastAttempt
from alerthost.outbox.leasing import Lease
from hostspec.action import Limit
from hostspec.delivery import Outcome


@attrs.frozen
class EndedAttempt:
    """An attempt that has ended.

    Attributes:
        arrived: the provider may have the message.
        limits: the limits that its action asks for.
        started_at: in seconds of the epoch.
        at: when it ended, likewise.
    """

    lease: Lease
    outcome: Outcome
    arrived: bool
    limits: Sequence[Limit]
    started_at: float
    at: float

    @property
    def delivered(self) -> bool:
        """Whether the provider accepted the delivery."""
        return self.outcome.delivered

    @property
    def budgets(self) -> str:
        """The names of the budgets that it counts against, as lanes and incidents keep them."""
        return rate_limit_store.names_of(self.limits)

    @property
    def reported(self) -> notifier.Reported:
        """The delivery, as its receipt reports it."""
        lease = self.lease
        return notifier.Reported(lease.uid, lease.body, lease.attempt, self.outcome)

    @property
    def past(self) -> PastAttempt:
        """The attempt, as it is kept with its delivery."""
        lease = self.lease
        return PastAttempt(
            number=lease.attempt,
            started_at=self.started_at,
            seconds=max(0.0, self.at - self.started_at),
            outcome=self.outcome.kind,
            reason=self.outcome.reason,
            accepted_at=lease.accepted_at,
            coalesced=lease.coalesced,
            handle=lease.incident.incident.handle,
        )

    @property
    def evidence(self) -> lane_store.Evidence:
        """The attempt as evidence of its lane."""
        lease, incident = self.lease, self.lease.incident
        opens = incident.incident.handle is None
        action = lease.delivery.ref.action
        return lane_store.Evidence(incident.lane_id, action, lease.channel, self.budgets, opens)


@attrs.frozen
class UnusedLease:
    """A lease whose attempt was not started.

    Attributes:
        at: when it was given back, in seconds of the epoch.
    """

    lease: Lease
    at: float


@attrs.frozen
class OrphaningLease:
    """A lease that found the key of its incident gone.

    Attributes:
        at: when that was, in seconds of the epoch.
    """

    lease: Lease
    at: float


Result: TypeAlias = EndedAttempt | UnusedLease | OrphaningLease
"""The end of a lease."""
