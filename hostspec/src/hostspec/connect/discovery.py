"""Discovery: connect an account through the provider's API.

Any host can use it, in a terminal or on a page. It takes two calls; both do I/O:

1. ``found = discovery.find(settings)``: list the services, and let the operator choose.
2. ``connected = discovery.connect(ids, settings, installations=...)``: store
   ``connected.installation``, as after an install flow (`hostspec.connect.install_flow`).

The settings hold the credentials, usually a token. The installation does not need them: store
them only if the operator asks for it.
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
"""The attrs class of the discovery's settings."""
S = TypeVar("S")
"""The attrs class of an installation's settings."""


class DiscoveryError(Exception):
    """A discovery failed; the message gives the operator the reason and the remedy.

    It contains no secret, and no installation is changed. The next discovery finds everything
    that was created at the provider before the failure.
    """


class FoundState(enum.StrEnum):
    """Whether an item can be connected."""

    READY = enum.auto()
    """It can be connected as it is."""
    MISSING = enum.auto()
    """It lacks something, which is created at the provider when it is connected."""
    UNUSABLE = enum.auto()
    """It cannot be connected; its detail gives the reason."""


@attrs.frozen
class Found:
    """An item at the provider that can become a destination (for PagerDuty: a service).

    Attributes:
        id: its id at the provider.
        name: its name.
        state: whether it can be connected.
        detail: a remark for the operator, without secrets; empty for none.
    """

    id: str
    name: str
    state: FoundState
    detail: str = ""


class Discovery(abc.ABC, Generic[B, S]):
    """Connects an account through the provider's API. Does I/O; thread-safe.

    Class attributes:
        provider: the provider's name.
        settings: the attrs class of its settings (`hostspec.settings`).
    """

    provider: ClassVar[str]
    settings: type[B]

    @abc.abstractmethod
    def find(self, settings: B) -> Sequence[Found]:
        """List the items of the account, in the provider's order; changes nothing there.

        Args:
            settings: the discovery's settings.

        Raises:
            DiscoveryError: the provider cannot be reached, or its answer is invalid.
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
        """Build an installation of the chosen items, and create missing parts at the provider.

        Repeating the call duplicates nothing. Items that cannot be connected are skipped, with
        the reason. After a failure to create a part, all other incomplete items are skipped, too;
        if nothing had been created yet, it is an error.

        Args:
            chosen: the ids of the chosen items.
            settings: the discovery's settings.
            installations: all installations of the host: an account that is connected again is
                merged into its installation, and a new one gets a unique name.
            name: the name of a new installation; empty for that of the account.

        Raises:
            DiscoveryError: nothing could be connected.
        """
