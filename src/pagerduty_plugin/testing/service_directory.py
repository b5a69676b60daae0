"""The services of an account, with their integrations and keys. Pure.

A service may have any number of integrations. Their types are those of PagerDuty's REST API
schema; the Events API v2 accepts the keys of Events API v2 integrations only.
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
        id: Its id.
        type: One of the types of PagerDuty's REST API.
        name: Its name.
        key: Its integration key; empty for an e-mail integration.
        vendor: The id of its vendor; empty for none.
        key_shown: Where the REST API shows its key: ``everywhere``; ``alone``, in a request for
            this integration only; or ``nowhere``. PagerDuty's schema does not guarantee a key.
    """

    id: str
    type: str
    name: str
    key: str = attrs.field(repr=False)
    vendor: str = ""
    key_shown: Shown = "everywhere"


@attrs.frozen(kw_only=True)
class Service:
    """A snapshot of a service.

    Attributes:
        id: Its id, derived from the name.
        name: Its name.
        status: As in PagerDuty's REST API.
        integrations: Its integrations in the order of addition.
    """

    id: str
    name: str
    status: Status = "active"
    integrations: tuple[Integration, ...] = ()


@attrs.define(eq=False)
class ServiceDirectory:
    """All services of an account, in the order of addition."""

    _services: dict[str, Service] = attrs.field(factory=dict, init=False, repr=False)
    # integration key -> name of the service, and whether the Events API v2 accepts the key
    _keys: dict[str, tuple[str, bool]] = attrs.field(factory=dict, init=False, repr=False)

    def __bool__(self) -> bool:
        """Return whether there is any service."""
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
        """Add a service without integrations, or set the status of an existing one.

        Raises:
            ValueError: the name or the status is invalid.
        """
        if not name.strip():
            msg = "a service needs a name"
            raise ValueError(msg)
        if not name.isprintable():
            msg = f"the name of the service {name!r} has an unprintable character"
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
        """Add an integration; see `FakePagerDuty.add_integration`."""
        _check("type", type, TYPES)
        _check("key_shown", key_shown, get_args(Shown))
        if key is None:
            key = "" if type == E_MAIL else uuid.uuid4().hex
        if key and rules.routing_key_faults(key):
            msg = f"the integration key of service {service!r} is not 32 letters and digits"
            raise ValueError(msg)
        if key in self._keys:
            other = self._keys[key][0]
            msg = f"the integration key of service {service!r} already belongs to {other!r}"
            raise ValueError(msg)
        owner = self._services.get(service) or self.add_service(service)
        integration = Integration(
            id=identifier(f"{owner.id} {len(owner.integrations)}"),
            type=type,
            name=name or _NAMES.get(type, type),
            key=key,
            vendor=vendor,
            key_shown=key_shown,
        )
        self._services[service] = attrs.evolve(
            owner, integrations=(*owner.integrations, integration)
        )
        if key:
            self._keys[key] = service, type == EVENTS_API_V2
        return integration

    def name_of(self, key: str) -> str | None:
        """Return the name of the service that receives events with this key, or None."""
        service, takes_events = self._keys.get(key, (None, False))
        return service if takes_events else None

    def latest_key(self, name: str) -> str | None:
        """Return the newest Events API v2 key of a service, or None."""
        integrations = reversed(self._services[name].integrations)
        return next((each.key for each in integrations if each.type == EVENTS_API_V2), None)

    def find(self, service_id: str) -> Service | None:
        """Return the service with this id, or None."""
        return next((each for each in self.services if each.id == service_id), None)


def identifier(text: str) -> str:
    """Return an id in PagerDuty's form, derived from the text."""
    return f"P{hashlib.sha256(text.encode()).hexdigest()[:13].upper()}"


def _check(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        msg = f"unknown {what} {given!r}; PagerDuty has {', '.join(known)}"
        raise ValueError(msg)
