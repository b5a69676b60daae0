"""One attempt to send, whatever the action does."""

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
    """What an attempt came to.

    Attributes:
        outcome: what is to be done now.
        may_have_arrived: the provider may hold the message.
    """

    outcome: Outcome
    may_have_arrived: bool

    @classmethod
    def impossible(cls, ref: IncidentRef) -> Attempt:
        """Return the attempt that cannot be made: the action or installation is gone."""
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
    """Check whether what opened an incident is still held; True where the action fails to say."""
    try:
        return as_durable(action).can_follow_up(incident, installation)
    except Exception as error:  # noqa: BLE001 -- what cannot be said is told by the attempt
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- whatever a plugin does, the host goes on
        return _broken(action, f"the action {action.name} {describe_error(error)}")
    if not isinstance(outcome, Outcome) or not isinstance(outcome.kind, OutcomeKind):
        return _broken(action, f"the action {action.name} returned no outcome")
    return outcome


def _broken(action: AnyAction, reason: str) -> Outcome:
    """Judge an attempt that broke off inside the action: nobody knows how far it came."""
    idempotent = action.capabilities.idempotent
    return Outcome(OutcomeKind.FAULTED if idempotent else OutcomeKind.UNCERTAIN, reason)


def _may_have_arrived(action: AnyAction, outcome: Outcome) -> bool:
    """Check whether the provider may hold the message.

    Actions whose repeats are not idempotent call an attempt *uncertain* when they do not know;
    *unreachable* is certain there, and the incident must open at the next try.
    """
    if action.capabilities.idempotent:
        return outcome.kind.may_have_arrived
    return outcome.kind in (OutcomeKind.DELIVERED, OutcomeKind.UNCERTAIN)
