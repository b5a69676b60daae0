"""The services of an account, with their integrations and keys. Pure.

A service may have several integrations, of several types, or none. What the types are called is
the enumeration of PagerDuty's REST API schema; of them all, only an Events API v2 integration has
a key that the Events API v2 takes.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import attrs

from pagerduty_plugin.testing import rules

if TYPE_CHECKING:
    from collections.abc import Iterable

EVENTS_API_V2: Final = "events_api_v2_inbound_integration"
E_MAIL: Final = "generic_email_inbound_integration"
TYPES: Final = (
    "aws_cloudwatch_inbound_integration",
    "cloudkick_inbound_integration",
    "event_transformer_api_inbound_integration",
    EVENTS_API_V2,
    E_MAIL,
    "generic_events_api_inbound_integration",
    "keynote_inbound_integration",
    "nagios_inbound_integration",
    "pingdom_inbound_integration",
    "sql_monitor_inbound_integration",
)

_NAMES: Final = {
    EVENTS_API_V2: "Events API V2",
    E_MAIL: "Email",
    "generic_events_api_inbound_integration": "Events API V1",
}

Shown: TypeAlias = Literal["everywhere", "alone", "nowhere"]
Status: TypeAlias = Literal["active", "warning", "critical", "maintenance", "disabled"]


@attrs.frozen(kw_only=True)
class Integration:
    """One integration of a service.

    Attributes:
        id: What PagerDuty calls it among machines.
        type: One of the types of PagerDuty's REST API.
        name: What people call it.
        key: Its integration key; empty for an e-mail integration, which has none.
        vendor: The id of the vendor it was made for; empty for none.
        key_shown: Where the REST API shows its key: ``everywhere``; only where the integration is
            asked for ``alone``; or ``nowhere``. PagerDuty's schema does not promise a key.
    """

    id: str
    type: str
    name: str
    key: str = attrs.field(repr=False)
    vendor: str = ""
    key_shown: Shown = "everywhere"


@attrs.frozen(kw_only=True)
class Service:
    """A service as it is at one moment.

    Attributes:
        id: What PagerDuty calls it among machines; made of the name.
        name: What people call it.
        status: As in PagerDuty's REST API.
        integrations: Its integrations, in the order in which they were added.
    """

    id: str
    name: str
    status: Status = "active"
    integrations: tuple[Integration, ...] = ()


@attrs.define(eq=False)
class ServiceDirectory:
    """Every service of an account, in the order in which they were added."""

    _services: dict[str, Service] = attrs.field(factory=dict, init=False, repr=False)
    # The name of the service of each integration key, and whether the Events API v2 takes the key.
    _keys: dict[str, tuple[str, bool]] = attrs.field(factory=dict, init=False, repr=False)

    def __bool__(self) -> bool:
        """Check whether there is any service."""
        return bool(self._services)

    @property
    def services(self) -> tuple[Service, ...]:
        """The services."""
        return tuple(self._services.values())

    @property
    def keys(self) -> Iterable[str]:
        """The key of every integration that has one."""
        return self._keys.keys()

    def add_service(self, name: str, status: Status = "active") -> Service:
        """Add a service without integrations; one of this name gets the status.

        Raises:
            ValueError: the name or the status cannot be.
        """
        if not name.strip():
            msg = "a service needs a name"
            raise ValueError(msg)
        if not name.isprintable():
            msg = f"the service's name {name!r} has a character that cannot be printed"
            raise ValueError(msg)
        _check("status", status, get_args(Status))
        service = self._services.get(name) or Service(id=identifier(name), name=name)
        self._services[name] = attrs.evolve(service, status=status)
        return self._services[name]

    def add_integration(  # noqa: PLR0913 - each has a default and a name
        self,
        service: str,
        type: str = EVENTS_API_V2,  # noqa: A002 - PagerDuty's word
        *,
        name: str = "",
        key: str | None = None,
        vendor: str = "",
        key_shown: Shown = "everywhere",
    ) -> Integration:
        """Add an integration to a service, which is added too if there is none of this name.

        Args:
            service: The service's name.
            type: One of the types of PagerDuty's REST API.
            name: What people call it; empty for a name made of its type.
            key: Its integration key; None makes one, but for an e-mail integration.
            vendor: The id of the vendor it was made for.
            key_shown: Where the REST API shows its key.

        Raises:
            ValueError: one of them cannot be, or the key already has a service.
        """
        _check("type", type, TYPES)
        _check("key_shown", key_shown, get_args(Shown))
        if key is None:
            key = "" if type == E_MAIL else uuid.uuid4().hex
        if key and rules.routing_key_faults(key):
            msg = f"the integration key of service {service!r} is not 32 letters and digits"
            raise ValueError(msg)
        if key in self._keys:
            msg = f"the integration key of service {service!r} is that of {self._keys[key][0]!r}"
            raise ValueError(msg)
        held = self._services.get(service) or self.add_service(service)
        integration = Integration(
            id=identifier(f"{held.id} {len(held.integrations)}"),
            type=type,
            name=name or _NAMES.get(type, type),
            key=key,
            vendor=vendor,
            key_shown=key_shown,
        )
        self._services[service] = attrs.evolve(held, integrations=(*held.integrations, integration))
        if key:
            self._keys[key] = service, type == EVENTS_API_V2
        return integration

    def name_of(self, key: str) -> str | None:
        """Return the name of the service that an event with this key belongs to."""
        service, takes_events = self._keys.get(key, (None, False))
        return service if takes_events else None

    def latest_key(self, name: str) -> str | None:
        """Return the Events API v2 key that a service was given last; None where it has none."""
        integrations = reversed(self._services[name].integrations)
        return next((each.key for each in integrations if each.type == EVENTS_API_V2), None)

    def find(self, service_id: str) -> Service | None:
        """Find a service by its id."""
        return next((each for each in self.services if each.id == service_id), None)


def identifier(text: str) -> str:
    """Make an id of PagerDuty's form that is always the same for the same text."""
    return f"P{hashlib.sha256(text.encode()).hexdigest()[:13].upper()}"


def _check(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        msg = f"unknown {what} {given!r}; PagerDuty has {', '.join(known)}"
        raise ValueError(msg)
