"""Asks the rules about submissions, before the incidents are known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import attrs

from alerthost.outbox import inbox
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat, remark_of
from alerthost.outbox.snapshot import AlertState, Snapshot
from alerthost.outbox.submission import OLDER, OVER, STILL_FIRES, WAITS, Submission
from alerthost.outbox.timing import NOTHING_DUE, AlertTimes, TimedRule
from hostspec.alert import Alert, Status
from hostspec.delivery import IncidentRef
from hostspec.plugins import Rule
from hostspec.plugins.planning import LATE_REPEAT, Proposal, is_late_repeat, propose


@attrs.frozen
class Proposed:
    """A submission, and what the rules propose for it.

    Attributes:
        no_effect: why it changes nothing; empty if it may.
        proposal: None if the rules were not asked, or failed with an error.
        is_new: no earlier submission about its alert is known.
        times: the due times of the alert afterwards.
        waits: until when rules wait whether the alert still fires; empty if none does.
        ended: that the alert ended while rules waited; empty if none did.
        fed: the expected heartbeats that it is a sign of.
    """

    submission: Submission
    no_effect: str = ""
    proposal: Proposal | None = None
    error: Exception | None = None
    is_new: bool = False
    times: AlertTimes = NOTHING_DUE
    fed: tuple[ExpectedHeartbeat, ...] = ()
    waits: str = ""
    ended: str = ""

    @property
    def is_resolve(self) -> bool:
        """Whether the rules were asked about a resolve."""
        return self.proposal is not None and self.proposal.alert.status is Status.RESOLVED

    @property
    def refs(self) -> Iterable[IncidentRef]:
        """The incidents that the rules propose."""
        return [each.ref for _, each in self.proposal.deliveries] if self.proposal else ()


class Proposer:
    """Asks the rules of an engine about submissions."""

    def __init__(self, rules: Iterable[Rule], heartbeats: Iterable[ExpectedHeartbeat] = ()) -> None:
        self._rules = tuple(rules)
        self._timed = [rule for rule in self._rules if isinstance(rule, TimedRule)]
        self._waiting = [rule for rule in self._timed if rule.wait]
        self._heartbeats = [each for each in heartbeats if each.matches is not None]
        self._records = any(
            use.action.capabilities.record for rule in self._rules for use in rule.actions
        )

    def propose(self, snapshot: Snapshot, submission: Submission, now: float) -> Proposed:
        """Ask the rules, unless a submission is outdated and no action records it.

        A firing alert that feeds an expected heartbeat is no problem, and starts no action.
        """
        try:
            alert = submission.alert()
            known = snapshot.alert_state(alert.identity)
            no_effect = _find_reason(submission, alert, known, now)
            if no_effect and not self._records:
                return Proposed(submission, no_effect)
            if fed := tuple(each for each in self._heartbeats if each.is_fed_by(alert)):
                return Proposed(submission, remark_of(fed), fed=fed)
            if no_effect or submission.replays is not None:
                proposal = propose(alert, self._rules)
                return Proposed(submission, no_effect, proposal, is_new=known is None)
            proposed = self._propose_news(submission, alert, known, now)
        except Exception as error:  # noqa: BLE001 -- one submission must not block the others
            return Proposed(submission, error=error)
        snapshot.apply_alert(alert, submission.accepted_at, proposed.times)
        return proposed

    def _propose_news(
        self, submission: Submission, alert: Alert, known: AlertState | None, now: float
    ) -> Proposed:
        """Ask the rules about a new state of an alert, except those that wait."""
        before = known.times if known else NOTHING_DUE
        status = known.status_after(alert) if known else alert.status
        # one that was accepted in the future came while a clock was ahead
        at = min(submission.accepted_at, now)
        since = now if before.fires_since is None and self._waiting else before.fires_since
        waiting: list[TimedRule] = []
        if status is Status.FIRING and since is not None:
            waiting = [
                rule for rule in self._waiting if since + rule.wait > at and _matches(rule, alert)
            ]
        asked: Sequence[Rule] = [rule for rule in self._rules if rule not in waiting]
        if submission.cause == STILL_FIRES:
            asked = self._former(before.waiting, asked)
        elif submission.cause and alert.status is Status.RESOLVED:
            asked = ()  # no rule can match it: it has no labels
        proposal = propose(alert, asked)
        times = NOTHING_DUE
        if status is not Status.RESOLVED:
            names = {*proposal.rules, *(rule.name for rule in waiting)}
            matching = [rule for rule in self._timed if rule.name in names]
            times = before.wait(since, waiting, submission.row)
            if submission.cause != STILL_FIRES:
                times = times.reported(status, now, submission.lifetime, matching)
        return Proposed(
            submission,
            proposal=proposal,
            is_new=known is None,
            times=times,
            waits=_describe_waiting(times),
            ended=_describe_end(status, before),
        )

    def _former(self, names: Iterable[str], asked: Sequence[Rule]) -> Sequence[Rule]:
        """Return the asked rules that waited; all, if one of those is gone or has a new name."""
        if not {*names} <= {rule.name for rule in self._rules}:
            return asked
        return [rule for rule in asked if rule.name in names]

    def lanes_of(self, alert: Alert) -> frozenset[inbox.Lane]:
        """Return the lanes of the incidents that an alert opens when it fires."""
        if alert.status is not Status.FIRING:
            alert = attrs.evolve(alert, status=Status.FIRING)
        refs = (delivery.ref for _, delivery in propose(alert, self._rules).deliveries)
        return frozenset((ref.installation, ref.destination) for ref in refs)


def _matches(rule: Rule, alert: Alert) -> bool:
    """Check whether a rule matches; one that fails counts as a match, and fails again later."""
    try:
        return bool(rule.matches(alert))
    except Exception:  # noqa: BLE001 -- the host's program may raise anything
        return True


def _describe_waiting(times: AlertTimes) -> str:
    if times.waits_until is None:
        return ""
    until = dt.datetime.fromtimestamp(times.waits_until, dt.UTC)
    names = ", ".join(times.waiting)
    return f"{WAITS} {until:%Y-%m-%d %H:%M:%S} UTC whether it still fires: {names}"


def _describe_end(status: Status, before: AlertTimes) -> str:
    if status is Status.FIRING or not before.waiting:
        return ""
    return f"{status} while rules waited whether it still fires: {', '.join(before.waiting)}"


def _find_reason(submission: Submission, alert: Alert, known: AlertState | None, now: float) -> str:
    """Return why a submission changes nothing; empty if it may."""
    if known is None:
        return ""
    if submission.replays is not None:
        return OVER if known.status is Status.RESOLVED else ""
    if is_late_repeat(
        alert, known.ended, known.updated_at, submission.accepted_at - known.accepted_at
    ):
        return LATE_REPEAT
    moment, newest = alert.updated_at, known.updated_at
    # a newest state in the future was accepted while the clock of this host was wrong
    if moment and newest and moment < newest and newest.timestamp() <= now:
        return f"{OLDER}: {newest.isoformat()} is the newest"
    return ""
