"""The test case that describes a provider and one of its actions to the kit."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

import attrs

from hostspec.action import AnyAction
from hostspec.alert import Alert
from hostspec.delivery import (
    Delivery,
    Handle,
    Incident,
    IncidentState,
    Outcome,
    OutcomeKind,
    SendContext,
    Suppression,
)
from hostspec.plugins.loading import load
from hostspec.plugins.registry import PluginsError
from hostspec.provider import Destination, Installation, Provider
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.testing.service import (
    Answer,
    NetworkFault,
    Service,
    answering,
    network_faults,
    serving,
)
from hostspec.testing.support import (
    INSTALLATION,
    REFERENCE,
    RULE,
    VARIABLE,
    environment,
    fail,
    require,
    within,
)

NOWHERE: Final = "http://127.0.0.1:9"
"""The service's URL in checks that send nothing."""


@attrs.frozen
class ActionUnderTest:
    """A freshly loaded action with its settings and an installation."""

    provider: Provider[Any]
    action: AnyAction
    installation: Installation[Any]
    settings: Any

    def plan(self, alert: Alert) -> list[Delivery]:
        """Plan for an alert."""
        planned = self.action.plan(alert, self.settings, self.installation, rule=RULE)
        return [each for each in planned if not isinstance(each, Suppression)]

    def destinations(self) -> list[Destination]:
        """Return the destinations; `check_destinations` reports objects of other types."""
        returned: Sequence[object] = self.provider.destinations(self.installation)
        return [each for each in returned if isinstance(each, Destination)]

    def plan_trigger(self, alert: Alert) -> Delivery:
        """Plan for a firing alert; return the first delivery."""
        try:
            planned = self.plan(alert)
        except Exception as error:  # noqa: BLE001 -- it is reported
            fail(f"{self.action.name}.plan raised {type(error).__name__} for a firing alert")
        require(planned, f"{self.action.name}.plan returned no delivery for a firing alert")
        return planned[0]


def incident_of(delivery: Delivery, handle: Handle | None = None) -> Incident:
    """Return the incident that a host stores after it has sent a trigger."""
    opened = Incident.opened_by(delivery, IncidentState.TRIGGERED)
    return attrs.evolve(opened, handle=handle)


class ProviderCase:
    """Describes a provider and one of its actions to the kit. Subclass it.

    Attributes:
        plugin: the name of the plugin's entry point, or the module or object itself.
        action: the action's name; optional where the plugin offers only one.
        action_settings: the settings in a rule, as in a file.
        install_settings: the settings that the install flow begins with, where there is one.
        canary: a text in the secret that must never show, and that no message contains.
            Empty where the provider has no secret.
        answer: the response of the service to a message that it accepts.
        expected: other outcomes that network faults may have, by the fault's name.
        time_limit: seconds after which a call is considered to hang.
        wrong_addresses: URLs that are rejected as a setting, or end in an outcome; none where
            the provider takes no URL.
    """

    plugin: ClassVar[object] = ""
    action: ClassVar[str] = ""
    action_settings: ClassVar[Mapping[str, object]] = types.MappingProxyType({})
    install_settings: ClassVar[Mapping[str, object]] = types.MappingProxyType({})
    canary: ClassVar[str] = ""
    answer: ClassVar[Answer] = Answer()
    expected: ClassVar[Mapping[str, Collection[OutcomeKind]]] = types.MappingProxyType({})
    time_limit: ClassVar[float] = 60.0
    wrong_addresses: ClassVar[Sequence[str]] = ("nonsense", "http://127.0.0.1:abc")

    def installation_settings(self, url: str, secret: str) -> Mapping[str, object]:
        """Return an installation's settings, as in a file, for a service at ``url``.

        ``secret`` is the value of the secret: usually a reference.
        """
        return {}

    def secret(self, url: str) -> str:
        """Return the secret, which contains the canary. Override it for a secret URL, say."""
        return self.canary

    def service(self) -> AbstractContextManager[Service]:
        """Start a service that accepts messages; override it if you have a stricter fake."""
        return serving(answering(self.answer))

    def faults(self) -> Sequence[NetworkFault]:
        """Return the faults the provider must survive; override it if it speaks no HTTP."""
        return network_faults(idempotent=self.load()[1].capabilities.idempotent)

    def load(self) -> tuple[Provider[Any], AnyAction]:
        """Load the plugin again; return the provider and the action."""
        plugin = self.plugin
        try:
            plugins = load([plugin]) if isinstance(plugin, str) else load([], own={"own": plugin})
        except PluginsError as error:
            fail(f"no host can load the plugin: {error}")
        if not self.action and len(plugins.actions) == 1:
            (action,) = plugins.actions.values()
        elif self.action in plugins.actions:
            action = plugins.actions[self.action]
        else:
            offered = ", ".join(sorted(plugins.actions)) or "none"
            fail(f"the plugin offers the actions {offered}; set `action` to one of them")
        return plugins.providers[action.provider], action

    def connect(self, url: str = NOWHERE, secret: str = REFERENCE) -> ActionUnderTest:
        """Load the plugin again, and structure the settings of the case."""
        provider, action = self.load()
        raw = self.installation_settings(url, secret)
        try:
            installation = provider.installation(INSTALLATION, raw)
            settings = structure(action.settings, dict(self.action_settings))
            faults = action.check(settings, installation)
        except SettingsError as error:
            fail(f"the settings of the case are rejected: {error}")
        require(not faults, f"the action's settings are rejected: {'; '.join(map(str, faults))}")
        return ActionUnderTest(provider, action, installation, settings)

    @contextlib.contextmanager
    def connected(
        self, at: AbstractContextManager[Service]
    ) -> Iterator[tuple[ActionUnderTest, Service]]:
        """Start a service, put the secret into the environment, and connect."""
        with at as running, environment({VARIABLE: self.secret(running.url)}):
            yield self.connect(running.url), running

    def send(
        self, tested: ActionUnderTest, delivery: Delivery, handle: Handle | None = None
    ) -> Outcome:
        """Make one attempt; it fails unless an outcome returns in time."""
        name, context = f"{tested.action.name}.send", SendContext(handle=handle)
        outcome = self._attempt(
            name, lambda: tested.action.send(delivery, tested.installation, context)
        )
        if outcome is None:
            fail(f"{name} returned a NoneType; return an Outcome")
        return outcome

    def probe(self, tested: ActionUnderTest, destination: Destination) -> Outcome | None:
        """Probe a destination; it fails unless an outcome or None returns in time."""
        return self._attempt(
            f"{tested.action.name}.probe",
            lambda: tested.action.probe(destination, tested.installation),
        )

    def _attempt(self, name: str, call: Callable[[], object]) -> Outcome | None:
        try:
            outcome = within(self.time_limit, call)
        except TimeoutError as late:
            if late.args:
                fail(f"{name} does not return: {late}; set one")
            fail(f"{name} had not returned after {self.time_limit:g} s; give up in time")
        except BaseException as error:  # noqa: BLE001 -- SystemExit too is no outcome
            fail(f"{name} raised {type(error).__name__}; return an outcome instead")
        if outcome is None:
            return None
        if not (isinstance(outcome, Outcome) and isinstance(outcome.kind, OutcomeKind)):
            fail(f"{name} returned a {type(outcome).__name__}; return an Outcome")
        return outcome
