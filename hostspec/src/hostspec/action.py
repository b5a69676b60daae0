"""The action: what a rule does with an alert."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Generic, TypeGuard, TypeVar

import attrs

from hostspec.alert import Alert
from hostspec.delivery import Delivery, Handle, Incident, Outcome, SendContext, Suppression
from hostspec.errors import Fault
from hostspec.normalisation import Json
from hostspec.provider import Destination, Installation
from hostspec.text import clean_text

A = TypeVar("A")
"""The attrs class of an action's settings."""
I = TypeVar("I")  # noqa: E741 -- I for installation
"""The attrs class of the settings of the installations it sends through."""

LONGEST_BUDGET: Final = 255
"""Characters of the name of a budget, at most."""

MOST: Final = 1_000_000_000
"""Messages that a limit counts, at most: every database holds that number."""


@attrs.frozen
class Capabilities:
    """What an action can do for an incident after it was opened.

    Attributes:
        acknowledge: it can say that somebody is working on it.
        resolve: it can close it.
        update: it can tell an open incident something new by a message of its own kind.
        idempotent: sending the same message twice comes to the same as once. Without it an
            open incident is never opened again, only updated, and an attempt that may have
            arrived is *uncertain*.
        coalesce: of messages that wait for one incident only the newest need be sent.
        record: each message is a record of its own, a change event say. It opens nothing, so that
            every firing of an alert is sent, and no incident is listed. A host remembers
            each record as long as its acknowledge or resolve is to be recorded, too.
    """

    acknowledge: bool = False
    resolve: bool = False
    update: bool = False
    idempotent: bool = False
    coalesce: bool = False
    record: bool = False


@attrs.frozen
class Limit:
    """How much a provider takes.

    Attributes:
        budget: names what is counted together, whoever else counts there, in at most 255
            characters; without secrets.
        count: how many messages, at most a billion.
        window: in how many seconds.
    """

    budget: str
    count: int
    window: float


def is_limit(limit: object) -> TypeGuard[Limit]:
    """Check whether a plugin gave what a host can count by, whatever its types promise."""
    if not isinstance(limit, Limit):
        return False
    budget, count, window = attrs.astuple(limit)
    return (
        isinstance(budget, str)
        and 0 < len(budget) <= LONGEST_BUDGET
        and clean_text(budget) == budget
        and isinstance(count, int)
        and 0 < count <= MOST
        and isinstance(window, int | float)
        and 0 < window < math.inf
    )


@attrs.frozen
class Preview:
    """What would be sent, for a person to read.

    Attributes:
        target: where to (for HTTP: method and URL).
        body: the message as JSON, secrets masked.
    """

    target: str
    body: Json


class Action(abc.ABC, Generic[A, I]):
    """What a rule does with an alert. Registered with ``hostspec_actions``.

    `plan` and `follow_up` are pure: no I/O, no clock, no randomness. `send` does the I/O.
    All methods may be called from several threads at once.

    Class attributes:
        name: the provider's name, a dot, and its own: ``pagerduty.trigger``.
        label: what people call it.
        provider: the name of the provider through whose installations it sends.
        settings: the attrs class of what a rule may set (`hostspec.settings`).
        capabilities: what it can do after opening.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    provider: ClassVar[str]
    settings: type[A]
    capabilities: ClassVar[Capabilities]

    def check(self, settings: A, installation: Installation[I]) -> Sequence[Fault]:  # noqa: ARG002
        """Describe what is wrong with these settings for this installation; no I/O."""
        return ()

    def describe(self, settings: A, installation: Installation[I] | None) -> str:  # noqa: ARG002
        """Say in a sentence what it does with these settings; no I/O, never raises.

        Args:
            settings: what the rule says.
            installation: through which account; None where it is gone.
        """
        return self.label

    @abc.abstractmethod
    def plan(
        self, alert: Alert, settings: A, installation: Installation[I], *, rule: str = ""
    ) -> Sequence[Delivery | Suppression]:
        """Make one delivery per destination of an alert; no I/O.

        A firing alert opens. An acknowledged or resolved one is planned only by hosts that
        do not remember what they opened; others ask `follow_up`.

        Args:
            alert: the statement.
            settings: what the rule says.
            installation: through which account.
            rule: the rule's name, which the deliveries carry.

        Returns:
            the deliveries, and a suppression for what a plugin decided not to send.
        """

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:  # noqa: ARG002
        """Make the acknowledge, resolve or update of an open incident; no I/O.

        From the stored incident alone: no rule, template or hook has a say. None where there
        is nothing to tell (an e-mail has no follow-up).
        """
        return None

    def can_follow_up(self, incident: Incident, installation: Installation[I]) -> bool:  # noqa: ARG002
        """Check whether what opened an incident is still held, so that it can be followed up.

        False where it is known not to be: then the host gives the incident up, and opens again
        what still fires. May read secrets; True where they cannot be read now.
        """
        return True

    def on_missed(self, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
        """Describe what to send for a problem that was over before anyone could be told; no I/O.

        Both (somebody is notified), nothing, or something of another place: the record of a
        change, say, of another action of the same installation. Whatever is said, the host marks
        the trigger as over, and sends a resolve after it and after anything that may have
        arrived. Asked only where messages may coalesce.

        Args:
            opening: the newest trigger, which the provider never took; an attempt may have
                arrived.
            closing: its resolve.
        """
        return (opening, closing)

    def expected_handle(
        self,
        delivery: Delivery,  # noqa: ARG002
        installation: Installation[I],  # noqa: ARG002
    ) -> Handle | None:
        """Return the handle that the first send of an incident will return; no I/O.

        A host keeps it before it sends, so that what an attempt opened is followed up even
        where the host died before `send` returned. May read secrets. None where only the
        provider can tell, or a secret cannot be read now.
        """
        return None

    @abc.abstractmethod
    def send(
        self, delivery: Delivery, installation: Installation[I], context: SendContext
    ) -> Outcome:
        """Make one attempt to send; never raises for what network or provider did.

        What a provider needs to follow up comes back as the outcome's handle.
        """

    def probe(self, destination: Destination, installation: Installation[I]) -> Outcome | None:  # noqa: ARG002
        """Check whether messages would get through, by an attempt that nobody notices.

        Never raises for what network or provider did. None where it cannot be said.
        """
        return None

    def settings_for(self, destination: Destination) -> A | None:  # noqa: ARG002
        """Return the plainest settings that send to one destination; None where there are none."""
        return None

    def limits(
        self,
        delivery: Delivery,  # noqa: ARG002
        installation: Installation[I],  # noqa: ARG002
        handle: Handle | None = None,  # noqa: ARG002
    ) -> Sequence[Limit]:
        """Describe how much may be sent where this delivery goes; each budget at most once.

        Args:
            delivery: what is to be sent.
            installation: through which account.
            handle: of its incident, where that was opened before: a follow-up may count
                elsewhere than what opens now, after the key was changed, say.

        Raises:
            SecretUnavailableError: the limit is counted per key, and the key cannot be read.
        """
        return ()

    def preview(
        self,
        delivery: Delivery,
        installation: Installation[I],  # noqa: ARG002
        context: SendContext,  # noqa: ARG002
    ) -> Preview:
        """Show what would be sent, secrets masked; no I/O, no secret is read."""
        return Preview(delivery.ref.destination, delivery.message)


AnyAction = Action[Any, Any]
"""An action of whatever settings."""
