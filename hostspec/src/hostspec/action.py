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
"""The attrs class of an installation's settings."""

LONGEST_BUDGET: Final = 255
"""The maximum length of a budget's name, in characters."""

MOST_MESSAGES: Final = 1_000_000_000
"""The maximum count of a limit: every database can hold it."""


@attrs.frozen
class Capabilities:
    """The capabilities of an action for an open incident: it can acknowledge it, and resolve it.

    Attributes:
        update: it can add information by a message of its own kind.
        idempotent: sending the same message twice has the same effect as once. Without it, an
            open incident is updated and never triggered again, and an attempt that may have
            arrived is *uncertain*.
        coalesce: of the queued messages of one incident, only the newest need be sent.
        record: each message is an independent record, such as a change event. It opens no
            incident, so every firing of an alert is sent, and no incident is listed. A host
            remembers a record as long as its acknowledge or resolve may have to be recorded, too.
    """

    acknowledge: bool = False
    resolve: bool = False
    update: bool = False
    idempotent: bool = False
    coalesce: bool = False
    record: bool = False


@attrs.frozen
class Limit:
    """A provider's rate limit.

    Attributes:
        budget: names the counter, which several actions may share: at most 255 characters,
            without secrets.
        count: the number of messages, at most a billion.
        window: the period, in seconds.
    """

    budget: str
    count: int
    window: float


def is_limit(limit: object) -> TypeGuard[Limit]:
    """Check that a plugin's limit can be applied; at run time a plugin may return anything."""
    if not isinstance(limit, Limit):
        return False
    budget, count, window = attrs.astuple(limit)
    return (
        isinstance(budget, str)
        and 0 < len(budget) <= LONGEST_BUDGET
        and clean_text(budget) == budget
        and isinstance(count, int)
        and 0 < count <= MOST_MESSAGES
        and isinstance(window, int | float)
        and 0 < window < math.inf
    )


@attrs.frozen
class Preview:
    """A message as an operator sees it before it is sent.

    ``target`` is its destination (for HTTP: method and URL), ``body`` the message as JSON, secrets
    masked.
    """

    target: str
    body: Json


class DurableAction(Generic[I]):
    """Optional methods of an action, called only by hosts that store deliveries.

    Inherit from this class as well as from `Action`, and override the methods for which the
    provider can do better than the default.
    """

    def can_follow_up(self, incident: Incident, installation: Installation[I]) -> bool:
        """Check that an incident can still be followed up; may read secrets.

        Return False only if the key that opened the incident is known to be gone: the host then
        closes its record of the incident, and opens a new one for alerts that still fire.
        Return True if a secret cannot be read now.
        """
        return True

    def on_missed(self, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
        """Return the deliveries for a problem that ended before its trigger was delivered; no I/O.

        They may be both, none, or a delivery to another incident, such as a change event through
        the same installation. In every case the host marks the trigger as ``over``, and sends a
        resolve after it and after any attempt that may have arrived. Called only if the
        capabilities include ``coalesce``.

        The opening is the newest trigger; an attempt to send it may have arrived.
        """
        return (opening, closing)

    def expected_handle(self, delivery: Delivery, installation: Installation[I]) -> Handle | None:
        """Return the handle that the first send of an incident will return; may read secrets.

        The host stores it before the attempt, so that the incident is followed up even if the
        host is killed before `Action.send` returns. Return None if only the provider chooses it, or
        a secret cannot be read now. No I/O.
        """
        return None

    def limits(
        self, delivery: Delivery, installation: Installation[I], handle: Handle | None = None
    ) -> Sequence[Limit]:
        """Return the rate limits of a delivery, each budget at most once.

        The handle is that of the delivery's incident, if it is open: after a change of the key, a
        follow-up may count towards another budget than a trigger.

        Raises:
            SecretUnavailableError: the limit depends on a secret that cannot be read now.
        """
        return ()


_DURABLE_METHODS: Final = ("can_follow_up", "on_missed", "expected_handle", "limits")

_DEFAULTS: Final = DurableAction[Any]()


def as_durable(action: AnyAction) -> DurableAction[Any]:
    """Return the action's methods for durable hosts: its own, or the defaults."""
    return action if isinstance(action, DurableAction) else _DEFAULTS


class Action(abc.ABC, Generic[A, I]):
    """What a rule does with an alert. Registered with ``hostspec_actions``.

    A simple action implements `plan`, `follow_up` and `send`. `plan` and `follow_up` are pure:
    no I/O, no clock, no randomness. `send` does the I/O. All methods may be called from several
    threads at once. `DurableAction` has more methods, for hosts that store deliveries.

    Class attributes:
        name: the provider's name, a dot, and the action's own name: ``pagerduty.trigger``.
        label: the name that operators see.
        provider: the name of the provider whose installations it sends through.
        settings: the attrs class of its settings in a rule (`hostspec.settings`).
        capabilities: its capabilities for an open incident.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    provider: ClassVar[str]
    settings: type[A]
    capabilities: ClassVar[Capabilities]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        unused = [name for name in _DURABLE_METHODS if hasattr(cls, name)]
        if unused and not issubclass(cls, DurableAction):
            message = f"{cls.__name__} has {unused[0]}(): inherit from hostspec.DurableAction, too"
            raise TypeError(message)

    def check(self, settings: A, installation: Installation[I]) -> Sequence[Fault]:
        """Return the faults of these settings for this installation; no I/O."""
        return ()

    def describe(self, settings: A, installation: Installation[I] | None) -> str:
        """Return a sentence about the action with these settings; no I/O, never raises.

        The installation is None if it no longer exists.
        """
        return self.label

    @abc.abstractmethod
    def plan(
        self, alert: Alert, settings: A, installation: Installation[I], *, rule: str = ""
    ) -> Sequence[Delivery | Suppression]:
        """Return one delivery for each destination of an alert; no I/O.

        A firing alert opens incidents. An acknowledged or resolved one is planned only by hosts
        that do not remember open incidents; other hosts call `follow_up`. Deliveries carry the
        name of the rule. A suppression replaces each delivery that a plugin vetoed.
        """

    def follow_up(self, incident: Incident, alert: Alert) -> Delivery | None:
        """Return the acknowledge, resolve or update of an open incident; no I/O.

        It depends on the stored incident alone, not on rules, templates or hooks. Return None
        if the provider has no such message (an e-mail has no follow-up).
        """
        return None

    @abc.abstractmethod
    def send(
        self, delivery: Delivery, installation: Installation[I], context: SendContext
    ) -> Outcome:
        """Make one attempt to send; never raises for faults of the network or the provider.

        The outcome's handle carries what follow-ups need.
        """

    def probe(self, destination: Destination, installation: Installation[I]) -> Outcome | None:
        """Check that messages would arrive, by an attempt without a notification.

        Never raises for faults of the network or the provider. Return None if the
        provider has no such attempt.
        """
        return None

    def settings_for(self, destination: Destination) -> A | None:
        """Return minimal settings that send to one destination; None if impossible."""
        return None

    def preview(
        self, delivery: Delivery, installation: Installation[I], context: SendContext
    ) -> Preview:
        """Return the message as it would be sent, secrets masked; no I/O, no secret is read."""
        return Preview(delivery.ref.destination, delivery.message)


AnyAction = Action[Any, Any]
"""An action, whatever its settings."""
