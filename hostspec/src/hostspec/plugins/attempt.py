"""One attempt to send, isolated from the action's failures."""

from __future__ import annotations

import logging
from typing import Any

import attrs

from hostspec.action import AnyAction, as_durable
from hostspec.delivery import Delivery, Incident, IncidentRef, Outcome, OutcomeKind, SendContext
from hostspec.errors import describe_error
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")


@attrs.frozen
class Attempt:
    """The result of an attempt.

    Attributes:
        outcome: the outcome of the attempt.
        may_have_arrived: the provider may have the message.
    """

    outcome: Outcome
    may_have_arrived: bool

    @classmethod
    def impossible(cls, ref: IncidentRef) -> Attempt:
        """Return the result of an attempt without its action or installation."""
        gone = f"the action {ref.action} or the installation {ref.installation} is gone"
        return cls(Outcome(OutcomeKind.MISCONFIGURED, gone), may_have_arrived=False)


def make_attempt(
    action: AnyAction,
    delivery: Delivery,
    installation: Installation[Any],
    context: SendContext,
) -> Attempt:
    """Make one attempt to send; raises only `KeyboardInterrupt`."""
    outcome = _outcome(action, delivery, installation, context)
    return Attempt(outcome, _may_have_arrived(action, outcome))


def can_follow_up(action: AnyAction, incident: Incident, installation: Installation[Any]) -> bool:
    """Ask the action whether it can still follow up on an incident; True if the action fails."""
    try:
        return as_durable(action).can_follow_up(incident, installation)
    except BaseException as error:  # noqa: BLE001 -- an attempt will show it
        _log.error("the action %s %s", action.name, describe_error(error))
        return True


def _outcome(
    action: AnyAction,
    delivery: Delivery,
    installation: Installation[Any],
    context: SendContext,
) -> Outcome:
    try:
        outcome: object = action.send(delivery, installation, context)
    except BaseException as error:  # noqa: BLE001 -- SystemExit of a plugin must not end the host
        return _broken(action, f"the action {action.name} {describe_error(error)}")
    if not isinstance(outcome, Outcome) or not isinstance(outcome.kind, OutcomeKind):
        return _broken(action, f"the action {action.name} returned no outcome")
    return outcome


def _broken(action: AnyAction, reason: str) -> Outcome:
    """Return the outcome of an attempt that failed in the action, at an unknown point."""
    idempotent = action.capabilities.idempotent
    return Outcome(OutcomeKind.FAULTED if idempotent else OutcomeKind.UNCERTAIN, reason)


def _may_have_arrived(action: AnyAction, outcome: Outcome) -> bool:
    """Check whether the provider may have the message.

    An action without idempotent repeats returns *uncertain* if it does not know; its *unreachable*
    means not sent, and the next try must open the incident.
    """
    if action.capabilities.idempotent:
        return outcome.kind.may_have_arrived
    return outcome.kind in (OutcomeKind.DELIVERED, OutcomeKind.UNCERTAIN)
