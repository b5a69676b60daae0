"""Checks of `send`: an outcome whatever happens, from any thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from typing import Final, cast

from hostspec.action import LONGEST_BUDGET, is_limit
from hostspec.alert import Status
from hostspec.delivery import Delivery, Handle, Outcome, OutcomeKind, frozen_handle
from hostspec.settings import SettingsError, secrets
from hostspec.testing import samples
from hostspec.testing.case import (
    REFERENCE,
    VARIABLE,
    ProviderCase,
    UnderTest,
    environment,
    incident_of,
)
from hostspec.testing.requirement import ConformanceError, fail, require
from hostspec.testing.service import Service
from hostspec.values import to_json

_NOT_THERE: Final = frozenset({OutcomeKind.MISCONFIGURED, OutcomeKind.UNREACHABLE})

THREADS: Final = 8
"""How many threads send at once."""


def check_delivers(case: ProviderCase) -> None:
    """A service that takes everything is sent the trigger and its follow-ups, once each."""
    with case.connected(case.service()) as (connected, there):
        opening = connected.open(samples.firing("conformance-delivers"))
        outcome = _delivered(case.send(connected, opening), opening)
        _require_arrived(there, "conformance-delivers")
        incident = incident_of(opening, outcome.handle)
        for status in Status:
            alert = samples.of_status("conformance-delivers", status)
            followed = connected.action.follow_up(incident, alert)
            if followed is not None:
                _delivered(case.send(connected, followed, incident.handle), followed)


def check_network_faults(case: ProviderCase) -> None:
    """Whatever the network does, `send` returns a right outcome, and raises nothing."""
    faults = case.faults()
    unknown = set(case.expected).difference(fault.name for fault in faults)
    require(not unknown, f"`expected` names faults that are not there: {sorted(unknown)}")
    wrong = []
    for fault in faults:
        right = case.expected.get(fault.name, fault.right)
        with case.connected(fault.meet()) as (connected, _):
            opening = connected.open(samples.firing("conformance-fault"))
            try:
                kind = case.send(connected, opening).kind
            except ConformanceError as error:
                wrong.append(f"{fault.name}: {error}")
                continue
        if kind not in right:
            wrong.append(f"{fault.name}: the outcome is {kind}, right is {_or(right)}")
    require(
        not wrong,
        "network faults end in wrong outcomes, so that a host would lose or double pages: "
        + "; ".join(wrong),
    )


def check_addresses(case: ProviderCase) -> None:
    """An address that is no URL is refused as a setting, or ends in an outcome."""
    wrong = []
    for url in case.wrong_addresses:
        settings = case.installation_settings(url, REFERENCE)
        provider, _ = case.load()
        try:
            provider.installation("conformance-address", settings)
        except SettingsError:
            continue
        with environment({VARIABLE: case.secret(url)}):
            connected = case.connect(url)
            try:
                kind = case.send(connected, connected.open(samples.firing("address"))).kind
            except ConformanceError as error:
                wrong.append(f"{url}: {error}")
                continue
        if kind not in _NOT_THERE:
            wrong.append(f"{url}: the outcome is {kind}, right is {_or(_NOT_THERE)}")
    require(
        not wrong,
        "an address that is no URL ends in wrong outcomes; refuse it as a setting, or let send() "
        "return misconfigured: " + "; ".join(wrong),
    )


def check_follow_up_faults(case: ProviderCase) -> None:
    """Whatever the network does, a follow-up ends in a right outcome too."""
    with case.connected(case.service()) as (connected, there):
        opening = connected.open(samples.firing("conformance-after"))
        handle = _delivered(case.send(connected, opening), opening).handle
        before = there.url
    wrong = []
    for fault in case.faults():
        right = case.expected.get(fault.name, fault.right)
        with case.connected(fault.meet()) as (connected, there):
            incident = incident_of(opening, _moved(handle, before, there.url))
            for status in Status:
                alert = samples.of_status("conformance-after", status)
                followed = connected.action.follow_up(incident, alert)
                if followed is None:
                    continue
                try:
                    kind = case.send(connected, followed, incident.handle).kind
                except ConformanceError as error:
                    wrong.append(f"{fault.name}: {error}")
                    continue
                if kind not in right:
                    told = f"the outcome of the {followed.operation} is {kind}"
                    wrong.append(f"{fault.name}: {told}, right is {_or(right)}")
    require(
        not wrong,
        "network faults of follow-ups end in wrong outcomes, so that incidents would stay open: "
        + "; ".join(wrong),
    )


def check_probe(case: ProviderCase) -> None:
    """A probe, where there is one, gets through to a service that takes everything."""
    with case.connected(case.service()) as (connected, _):
        for name, outcome in _probes(case, connected):
            require(
                outcome.delivered,
                f"the probe of {name!r} ends as {outcome.kind} ({outcome.reason}) at a service "
                "that takes everything; mend probe(), or let it give None",
            )


def check_probe_is_honest(case: ProviderCase) -> None:
    """A probe says *delivered* only where a message would get through; it raises nothing."""
    wrong = []
    for fault in case.faults():
        with case.connected(fault.meet()) as (connected, _):
            if OutcomeKind.DELIVERED not in case.expected.get(fault.name, ()):
                wrong += [fault.name for _, each in _probes(case, connected) if each.delivered]
    connected = case.connect()
    if any(secrets(connected.installation.settings)):
        with environment({VARIABLE: ""}):
            told = _probes(case, connected)
            wrong += ["a missing secret" for _, outcome in told if outcome.delivered]
    require(
        not wrong,
        f"a probe ends as delivered though no message would get through: {', '.join(wrong)}; "
        "judge it as send() judges",
    )


def check_missing_secret(case: ProviderCase) -> None:
    """A secret that cannot be read is a fault by day and *misconfigured* at night."""
    connected = case.connect()
    if not any(secrets(connected.installation.settings)):
        return
    with environment({VARIABLE: ""}):
        require(
            connected.provider.check(connected.installation),
            "check() finds nothing wrong with an installation whose secret is missing; reveal "
            "every secret there, and give a Fault for one that cannot be read",
        )
        opening = connected.open(samples.firing("conformance-secret"))
        kind = case.send(connected, opening).kind
    require(
        kind is OutcomeKind.MISCONFIGURED,
        f"without its secret, send() ends as {kind}; return misconfigured, so that the host "
        "holds the page until the secret is there",
    )


def check_threads(case: ProviderCase) -> None:
    """Many threads send at once: each message arrives, once."""
    with case.connected(case.service()) as (connected, there):
        tokens = [f"conformance-thread-{number:03}" for number in range(THREADS)]
        openings = [connected.open(samples.firing(token)) for token in tokens]
        together = threading.Barrier(THREADS)
        wrong: list[str] = []

        def send(opening: Delivery) -> None:
            together.wait()
            try:
                _delivered(case.send(connected, opening), opening)
            except ConformanceError as error:
                wrong.append(str(error))

        threads = [threading.Thread(target=send, args=(opening,)) for opening in openings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        require(
            not wrong,
            f"{THREADS} threads at once: {'; '.join(wrong)}; share nothing between calls of "
            "send() that is not locked",
        )
        for token in tokens:
            _require_arrived(there, token)


def check_promise(case: ProviderCase) -> None:
    """The handle that is promised, where one is, is the one that the first send returns."""
    with case.connected(case.service()) as (connected, _):
        opening = connected.open(samples.firing("conformance-promise"))
        promised = connected.action.expected_handle(opening, connected.installation)
        handle = _delivered(case.send(connected, opening), opening).handle
        require(
            promised is None or frozen_handle(promised) == handle,
            f"expected_handle() gives {promised}, and send() returns {to_json(handle)}; promise "
            "what the first send returns, or None",
        )


def check_limits(case: ProviderCase) -> None:
    """Limits count something, with a handle and without; each has a budget of its own."""
    with case.connected(case.service()) as (connected, _):
        opening = connected.open(samples.firing("conformance-limit"))
        _require_limits(connected, opening)
        handle = _delivered(case.send(connected, opening), opening).handle
        incident = incident_of(opening, handle)
        for status in Status:
            alert = samples.of_status("conformance-limit", status)
            followed = connected.action.follow_up(incident, alert)
            if followed is not None:
                _require_limits(connected, followed, handle)


def _require_limits(connected: UnderTest, delivery: Delivery, handle: Handle | None = None) -> None:
    limits = connected.action.limits(delivery, connected.installation, handle)
    for limit in limits:
        require(
            is_limit(limit),
            f"limits() gives {limit}; it is a Limit: name the budget, in at most {LONGEST_BUDGET} "
            "characters, and let count and window be above 0",
        )
    budgets = [limit.budget for limit in limits]
    require(
        len(set(budgets)) == len(budgets),
        f"limits() names a budget twice: {', '.join(budgets)}; what is counted in two ways needs "
        "two names",
    )


def _moved(handle: Handle | None, before: str, after: str) -> Handle | None:
    """Return a handle as the service would have given it elsewhere."""
    text = json.dumps(to_json(handle))
    return cast("Handle | None", json.loads(text.replace(before, after) if before else text))


def _probes(case: ProviderCase, connected: UnderTest) -> list[tuple[str, Outcome]]:
    """Probe every destination; leave out those of which nothing can be said."""
    probed = ((each.name, case.probe(connected, each)) for each in connected.destinations())
    return [(name, outcome) for name, outcome in probed if outcome is not None]


def _delivered(outcome: Outcome, delivery: Delivery) -> Outcome:
    if not outcome.delivered:
        fail(
            f"the {delivery.operation} ends as {outcome.kind} ({outcome.reason}) at a service "
            "that takes it; mend send(), or the case's `answer` or `service`"
        )
    return outcome


def _require_arrived(there: Service, token: str) -> None:
    count = sum(token in message for message in there.received())
    require(
        count == 1,
        f"a message that is called delivered arrived {count} times; send each once, and keep "
        "nothing of a call where another thread's call finds it",
    )


def _or(kinds: Collection[OutcomeKind]) -> str:
    return " or ".join(sorted(kinds))
