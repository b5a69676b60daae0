"""What a provider's author tells the kit, and what the checks work with."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final, TypeVar

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
from hostspec.testing import service
from hostspec.testing.network import NetworkFault, network_faults
from hostspec.testing.requirement import fail, require
from hostspec.testing.service import Answer, Service

T = TypeVar("T")

VARIABLE: Final = "HOSTSPEC_TESTING_SECRET"
"""The environment variable that holds the secret while a check sends."""

REFERENCE: Final = f"env:{VARIABLE}"

NOWHERE: Final = "http://127.0.0.1:9"
"""Stands for the service where nothing is sent."""

RULE: Final = "Conformance"
INSTALLATION: Final = "conformance"


@attrs.frozen
class UnderTest:
    """An action with an installation and its settings, freshly loaded."""

    provider: Provider[Any]
    action: AnyAction
    installation: Installation[Any]
    settings: Any

    def plan(self, alert: Alert) -> list[Delivery]:
        """Plan for an alert."""
        planned = self.action.plan(alert, self.settings, self.installation, rule=RULE)
        return [each for each in planned if not isinstance(each, Suppression)]

    def destinations(self) -> list[Destination]:
        """Return the destinations; what is none, another check tells."""
        told: Sequence[object] = self.provider.destinations(self.installation)
        return [each for each in told if isinstance(each, Destination)]

    def open(self, alert: Alert) -> Delivery:
        """Plan for a firing alert; give the first delivery.

        Raises:
            ConformanceError: there is none, or planning raised.
        """
        try:
            planned = self.plan(alert)
        except Exception as error:  # noqa: BLE001 -- told as what it is
            fail(f"{self.action.name}.plan raised {type(error).__name__} for a firing alert")
        require(planned, f"{self.action.name}.plan gave no delivery for a firing alert; give one")
        return planned[0]


def incident_of(delivery: Delivery, handle: Handle | None = None) -> Incident:
    """Return the incident as a host stores it after a first send."""
    return Incident(
        ref=delivery.ref,
        state=IncidentState.TRIGGERED,
        severity=delivery.severity,
        handle=handle,
        holders=(delivery.alert,),
        rules=delivery.rules,
    )


class ProviderCase:
    """What the kit needs to know of a provider and one of its actions. Subclass it.

    Attributes:
        plugin: the name of the plugin's entry point, or the module or object itself.
        action: the action's name; may be left out where the plugin offers only one.
        action_settings: what a rule sets, as a file would hold it.
        setup_settings: what the provider's setup has to know to begin, where it offers one.
        canary: a text in the secret that must never show: give one that no message holds.
            Empty where the provider has no secret.
        answer: what the service answers to a message that it takes.
        expected: other right outcomes of network faults, by the fault's name.
        patience: seconds after which a call is held to hang.
        wrong_addresses: URLs that are refused as a setting, or end in an outcome; none where
            the provider takes no URL.
    """

    plugin: ClassVar[object] = ""
    action: ClassVar[str] = ""
    action_settings: ClassVar[Mapping[str, object]] = types.MappingProxyType({})
    setup_settings: ClassVar[Mapping[str, object]] = types.MappingProxyType({})
    canary: ClassVar[str] = ""
    answer: ClassVar[Answer] = Answer()
    expected: ClassVar[Mapping[str, Collection[OutcomeKind]]] = types.MappingProxyType({})
    patience: ClassVar[float] = 60.0
    wrong_addresses: ClassVar[Sequence[str]] = ("nonsense", "http://127.0.0.1:abc")

    def installation_settings(self, url: str, secret: str) -> Mapping[str, object]:  # noqa: ARG002
        """Return an installation's settings, as a file would hold them.

        Args:
            url: where the service is for this check.
            secret: what to set as the secret: mostly a reference.
        """
        return {}

    def secret(self, url: str) -> str:  # noqa: ARG002
        """Return the secret itself; the canary is in it. Override it for a secret URL, say."""
        return self.canary

    def service(self) -> AbstractContextManager[Service]:
        """Start a service that takes messages; override it where you have a stricter fake."""
        return service.serving(service.answering(self.answer))

    def faults(self) -> Sequence[NetworkFault]:
        """Return the faults the provider must survive; override it where it speaks no HTTP."""
        return network_faults(idempotent=self.load()[1].capabilities.idempotent)

    def load(self) -> tuple[Provider[Any], AnyAction]:
        """Load the plugin again; give the provider and the action.

        Raises:
            ConformanceError: it does not load, or does not offer the action.
        """
        plugin = self.plugin
        try:
            plugins = load([plugin]) if isinstance(plugin, str) else load([], own={"own": plugin})
        except PluginsError as error:
            fail(f"no host can load the plugin: {error}; mend what it says")
        offered = ", ".join(sorted(plugins.actions)) or "none"
        if not self.action and len(plugins.actions) == 1:
            (action,) = plugins.actions.values()
        elif self.action in plugins.actions:
            action = plugins.actions[self.action]
        else:
            fail(f"the plugin offers the actions {offered}; set `action` to one of them")
        return plugins.providers[action.provider], action

    def connect(self, url: str = NOWHERE, secret: str = REFERENCE) -> UnderTest:
        """Load the plugin again, and make its settings.

        Raises:
            ConformanceError: the settings that the case gives are refused.
        """
        provider, action = self.load()
        raw = self.installation_settings(url, secret)
        try:
            installation = provider.installation(INSTALLATION, raw)
            settings = structure(action.settings, dict(self.action_settings))
            faults = action.check(settings, installation)
        except SettingsError as error:
            fail(f"the settings that the case gives are refused: {error}")
        require(not faults, f"the action's settings are refused: {'; '.join(map(str, faults))}")
        return UnderTest(provider, action, installation, settings)

    @contextlib.contextmanager
    def connected(self, at: AbstractContextManager[Service]) -> Iterator[tuple[UnderTest, Service]]:
        """Start a service, put the secret into the environment, and connect."""
        with at as there, environment({VARIABLE: self.secret(there.url)}):
            yield self.connect(there.url), there

    def send(
        self, connected: UnderTest, delivery: Delivery, handle: Handle | None = None
    ) -> Outcome:
        """Make one attempt.

        Raises:
            ConformanceError: it raised, did not come back, or gave no outcome.
        """
        context = SendContext(handle=handle)
        outcome = self._attempt(
            f"{connected.action.name}.send",
            lambda: connected.action.send(delivery, connected.installation, context),
        )
        if outcome is None:
            fail(f"{connected.action.name}.send returned a NoneType; return an Outcome")
        return outcome

    def probe(self, connected: UnderTest, destination: Destination) -> Outcome | None:
        """Probe a destination.

        Raises:
            ConformanceError: it raised, did not come back, or gave neither outcome nor None.
        """
        return self._attempt(
            f"{connected.action.name}.probe",
            lambda: connected.action.probe(destination, connected.installation),
        )

    def _attempt(self, name: str, call: Callable[[], object]) -> Outcome | None:
        try:
            outcome = within(self.patience, call)
        except TimeoutError as late:
            if late.args:
                fail(f"{name} does not come back: {late}; set one")
            fail(f"{name} had not come back after {self.patience:g} s; give up in time")
        except BaseException as error:  # noqa: BLE001 -- SystemExit too is no outcome
            fail(f"{name} raised {type(error).__name__}; return an outcome instead")
        if outcome is None:
            return None
        if not (isinstance(outcome, Outcome) and isinstance(outcome.kind, OutcomeKind)):
            fail(f"{name} returned a {type(outcome).__name__}; return an Outcome")
        return outcome


SETTLED: Final = 2.0
"""Seconds after which a call that has not come back is looked at: it waits for something."""


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while; no proxy stands before loopback meanwhile."""
    there = {**variables, "no_proxy": service.HOST, "NO_PROXY": service.HOST}
    before = {name: os.environ.get(name) for name in there}
    os.environ.update(there)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def within(patience: float, call: Callable[[], T]) -> T:
    """Call on a daemon thread; what it returns or raises comes back here.

    Raises:
        TimeoutError: it had not come back after so many seconds, or it waits on a socket that
            has no timeout.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001 -- it is raised below
            answers.put((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        value, error = answers.get(timeout=min(patience, SETTLED))
    except queue.Empty:
        if _waits_for_ever(thread):
            message = "it waits on a socket without a timeout"
            raise TimeoutError(message) from None
        try:
            value, error = answers.get(timeout=max(0.0, patience - SETTLED))
        except queue.Empty:
            raise TimeoutError from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _waits_for_ever(thread: threading.Thread) -> bool:
    """Check whether the innermost socket that a thread's functions hold has no timeout."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 -- documented
    while frame is not None:
        for held in frame.f_locals.values():
            for each in (held, getattr(held, "sock", None), getattr(held, "_sock", None)):
                if isinstance(each, socket.socket):
                    return each.gettimeout() is None
        frame = frame.f_back
    return False
