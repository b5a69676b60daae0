"""Discovery: connecting an account by asking the provider what it holds.

Any host can drive it, in a terminal or on a page. Two calls, each of which asks the provider:

1. ``found = discovery.find(settings)``: show what was found, and let a person choose.
2. ``connected = discovery.connect(ids, settings, installations=...)``: store
   ``connected.installation``, as after a setup (`hostspec.connect.install_flow`).

The settings hold what the provider wants to see, a token as a rule. They are for the two calls:
an installation does not need them, so keep them only if the person asks for it.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from hostspec.connect.install_flow import Connected
from hostspec.provider import Installation

B = TypeVar("B")
"""The attrs class of what has to be known to ask."""
S = TypeVar("S")
"""The attrs class of an installation's settings."""


class DiscoveryError(Exception):
    """A discovery that did not come to an end; the message says why, for a person, with what to do.

    It holds no secret, and no installation is changed. What was made at the provider before is
    found by the next discovery.
    """


class FoundState(enum.StrEnum):
    """What can be done with something that was found."""

    READY = enum.auto()
    """It can be connected as it is."""
    MISSING = enum.auto()
    """It lacks something, which is created at the provider when it is connected."""
    UNUSABLE = enum.auto()
    """It cannot be connected; its detail says why."""


@attrs.frozen
class Found:
    """Something at the provider that an installation may hold (for PagerDuty: a service).

    Attributes:
        id: what the provider calls it among machines.
        name: what people call it.
        state: what can be done with it.
        detail: a word more for a person; empty for none. Without secrets.
    """

    id: str
    name: str
    state: FoundState
    detail: str = ""


class Discovery(abc.ABC, Generic[B, S]):
    """How an account of a provider is asked for what it holds. Does I/O; safe for several threads.

    Class attributes:
        provider: the provider's name.
        settings: the attrs class of what has to be known to ask (`hostspec.settings`).
    """

    provider: ClassVar[str]
    settings: type[B]

    @abc.abstractmethod
    def find(self, settings: B) -> Sequence[Found]:
        """List what the account holds, in the provider's order; changes nothing there.

        Args:
            settings: what has to be known.

        Raises:
            DiscoveryError: the provider cannot be asked, or does not answer as it should.
        """

    @abc.abstractmethod
    def connect(
        self,
        chosen: Sequence[str],
        settings: B,
        installations: Iterable[Installation[Any]] = (),
        *,
        name: str = "",
    ) -> Connected[S]:
        """Make an installation of what was chosen, and create at the provider what it lacks.

        Doing it again doubles nothing, here or there. What cannot be connected is left aside,
        with the reason. If creating fails, the rest that lacks something is left aside as well;
        where nothing had been created yet, it is an error.

        Args:
            chosen: ids of what was found.
            settings: what has to be known.
            installations: all that the host has: an account that is connected again is merged
                into its installation, and a new one gets a name of its own.
            name: what to call a new installation; empty for what the account is called.

        Raises:
            DiscoveryError: nothing could be connected.
        """
