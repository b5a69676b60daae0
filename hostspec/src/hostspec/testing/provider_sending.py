"""Provider checks: `send` and `probe` return a right outcome, whatever happens."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeAlias, cast

from hostspec.action import LONGEST_BUDGET, as_durable, is_limit
from hostspec.delivery import Delivery, Handle, Outcome, OutcomeKind, frozen_handle
from hostspec.settings import SettingsError, secrets
from hostspec.testing.provider_case import ActionUnderTest, ProviderCase, incident_of
from hostspec.testing.service import Service
from hostspec.testing.support import (
    REFERENCE,
    THREADS,
    VARIABLE,
    ConformanceError,
    at_once,
    environment,
    fail,
    firing,
    later,
    require,
)
from hostspec.values import to_json

_NOT_SENT: Final = frozenset({OutcomeKind.MISCONFIGURED, OutcomeKind.UNREACHABLE})

_TRIES: Final = 3
"""Times that a fault is tried where nothing arrives: a loaded machine can use up a timeout."""

_Attempt: TypeAlias = tuple[str, Delivery, Handle | None]


def check_delivers(case: ProviderCase) -> None:
    """A service that accepts everything receives the trigger and its follow-ups, once each."""
    with case.connected(case.service()) as (tested, service):
        opening = tested.plan_trigger(firing("conformance-delivers"))
        outcome = _delivered(case.send(tested, opening), opening)
        _require_arrived(service, "conformance-delivers")
        for followed in _follow_ups(tested, opening, outcome.handle, "conformance-delivers"):
            _delivered(case.send(tested, followed, outcome.handle), followed)


def check_network_faults(case: ProviderCase) -> None:
    """At every network fault, `send` returns a right outcome, and raises nothing."""

    def attempts(tested: ActionUnderTest, _: Service) -> Iterable[_Attempt]:
        return [("", tested.plan_trigger(firing("conformance-fault")), None)]

    unknown = set(case.expected).difference(fault.name for fault in case.faults())
    require(not unknown, f"`expected` names unknown faults: {sorted(unknown)}")
    wrong = _wrong_outcomes(case, attempts)
    require(
        not wrong,
        "network faults end in wrong outcomes, so that a host would lose or double pages: "
        + "; ".join(wrong),
    )


def check_follow_up_faults(case: ProviderCase) -> None:
    """At every network fault, a follow-up ends in a right outcome too."""
    with case.connected(case.service()) as (tested, service):
        opening = tested.plan_trigger(firing("conformance-after"))
        handle = _delivered(case.send(tested, opening), opening).handle
        before = service.url

    def attempts(tested: ActionUnderTest, service: Service) -> Iterable[_Attempt]:
        moved = _moved(handle, before, service.url)
        for followed in _follow_ups(tested, opening, moved, "conformance-after"):
            yield f", {followed.operation}", followed, moved

    wrong = _wrong_outcomes(case, attempts)
    require(
        not wrong,
        "network faults of follow-ups end in wrong outcomes, so that incidents would stay open: "
        + "; ".join(wrong),
    )


def _wrong_outcomes(
    case: ProviderCase, attempts: Callable[[ActionUnderTest, Service], Iterable[_Attempt]]
) -> list[str]:
    """Make attempts at each fault; describe the wrong outcomes."""
    wrong = []
    for fault in case.faults():
        allowed = case.expected.get(fault.name, fault.allowed)
        found: list[str] = []
        for _ in range(_TRIES):
            with case.connected(fault.start()) as (tested, service):
                found = [
                    sentence
                    for label, delivery, handle in attempts(tested, service)
                    for sentence in _wrong_outcome(
                        f"{fault.name}{label}",
                        functools.partial(case.send, tested, delivery, handle),
                        allowed,
                    )
                ]
                arrived = service.received()
            if not found or arrived:
                break
        wrong += found
    return wrong


def _wrong_outcome(
    label: str, send: Callable[[], Outcome], allowed: Collection[OutcomeKind]
) -> list[str]:
    try:
        kind = send().kind
    except ConformanceError as error:
        return [f"{label}: {error}"]
    if kind in allowed:
        return []
    return [f"{label}: the outcome is {kind}, right is {' or '.join(sorted(allowed))}"]


def check_addresses(case: ProviderCase) -> None:
    """An invalid URL is rejected as a setting, or ends in an outcome."""
    wrong = []
    for url in case.wrong_addresses:
        provider, _ = case.load()
        try:
            provider.installation("conformance-url", case.installation_settings(url, REFERENCE))
        except SettingsError:
            continue
        with environment({VARIABLE: case.secret(url)}):
            tested = case.connect(url)
            opening = tested.plan_trigger(firing("address"))
            wrong += _wrong_outcome(url, functools.partial(case.send, tested, opening), _NOT_SENT)
    require(
        not wrong,
        "an invalid URL ends in a wrong outcome; reject it as a setting, or let send() return "
        "misconfigured: " + "; ".join(wrong),
    )


def check_probe(case: ProviderCase) -> None:
    """A probe, where there is one, gets through to a service that accepts everything."""
    with case.connected(case.service()) as (tested, _):
        for name, outcome in _probes(case, tested):
            require(
                outcome.delivered,
                f"the probe of {name!r} ends as {outcome.kind} ({outcome.reason}) at a service "
                "that accepts everything; correct probe(), or let it return None",
            )


def check_probe_is_honest(case: ProviderCase) -> None:
    """A probe returns *delivered* only where a message would get through; it raises nothing."""
    wrong = []
    for fault in case.faults():
        with case.connected(fault.start()) as (tested, _):
            if OutcomeKind.DELIVERED not in case.expected.get(fault.name, ()):
                wrong += [fault.name for _, each in _probes(case, tested) if each.delivered]
    tested = case.connect()
    if any(secrets(tested.installation.settings)):
        with environment({VARIABLE: ""}):
            wrong += ["a missing secret" for _, each in _probes(case, tested) if each.delivered]
    require(
        not wrong,
        f"a probe ends as delivered though no message would get through: {', '.join(wrong)}; "
        "classify responses as send() does",
    )


def check_missing_secret(case: ProviderCase) -> None:
    """An unreadable secret is a fault of the configuration, and *misconfigured* in `send`."""
    tested = case.connect()
    if not any(secrets(tested.installation.settings)):
        return
    with environment({VARIABLE: ""}):
        require(
            tested.provider.check(tested.installation),
            "check() finds nothing wrong with an installation whose secret is missing; reveal "
            "every secret there, and return a Fault for one that cannot be read",
        )
        kind = case.send(tested, tested.plan_trigger(firing("conformance-secret"))).kind
    require(
        kind is OutcomeKind.MISCONFIGURED,
        f"without its secret, send() ends as {kind}; return misconfigured, so that the host "
        "keeps the page until the secret is there",
    )


def check_threads(case: ProviderCase) -> None:
    """Many threads send at once, and each message arrives once."""
    with case.connected(case.service()) as (tested, service):
        tokens = [f"conformance-thread-{number:03}" for number in range(THREADS)]
        openings = [tested.plan_trigger(firing(token)) for token in tokens]

        def send(opening: Delivery) -> None:
            _delivered(case.send(tested, opening), opening)

        results = at_once([functools.partial(send, opening) for opening in openings])
        wrong = [str(error) for error in results if error is not None]
        require(
            not wrong,
            f"{THREADS} threads at once: {'; '.join(wrong)}; lock everything that calls of send() "
            "share",
        )
        for token in tokens:
            _require_arrived(service, token)


def check_expected_handle(case: ProviderCase) -> None:
    """The expected handle, where there is one, is the one that the first send returns."""
    with case.connected(case.service()) as (tested, _):
        opening = tested.plan_trigger(firing("conformance-handle"))
        expected = as_durable(tested.action).expected_handle(opening, tested.installation)
        handle = _delivered(case.send(tested, opening), opening).handle
        require(
            expected is None or frozen_handle(expected) == handle,
            f"expected_handle() returned {expected}, and send() {to_json(handle)}; return the "
            "handle of the first send, or None",
        )


def check_limits(case: ProviderCase) -> None:
    """Limits are valid, with a handle and without; each has a budget of its own."""
    with case.connected(case.service()) as (tested, _):
        opening = tested.plan_trigger(firing("conformance-limit"))
        _require_limits(tested, opening)
        handle = _delivered(case.send(tested, opening), opening).handle
        for followed in _follow_ups(tested, opening, handle, "conformance-limit"):
            _require_limits(tested, followed, handle)


def _require_limits(
    tested: ActionUnderTest, delivery: Delivery, handle: Handle | None = None
) -> None:
    limits = as_durable(tested.action).limits(delivery, tested.installation, handle)
    for limit in limits:
        require(
            is_limit(limit),
            f"limits() returned {limit}, which is not a valid Limit: name the budget in at most "
            f"{LONGEST_BUDGET} characters, with a count and a window above 0",
        )
    budgets = [limit.budget for limit in limits]
    require(
        len(set(budgets)) == len(budgets),
        f"limits() names a budget twice: {', '.join(budgets)}; two limits need two names",
    )


def _follow_ups(
    tested: ActionUnderTest, opening: Delivery, handle: Handle | None, token: str
) -> list[Delivery]:
    incident = incident_of(opening, handle)
    followed = (tested.action.follow_up(incident, alert) for alert in later(token))
    return [each for each in followed if each is not None]


def _moved(handle: Handle | None, before: str, after: str) -> Handle | None:
    """Return a handle as a service at another address would have returned it."""
    text = json.dumps(to_json(handle))
    return cast("Handle | None", json.loads(text.replace(before, after) if before else text))


def _probes(case: ProviderCase, tested: ActionUnderTest) -> list[tuple[str, Outcome]]:
    """Probe every destination; leave out those that cannot be probed."""
    probed = ((each.name, case.probe(tested, each)) for each in tested.destinations())
    return [(name, outcome) for name, outcome in probed if outcome is not None]


def _delivered(outcome: Outcome, delivery: Delivery) -> Outcome:
    if not outcome.delivered:
        fail(
            f"the {delivery.operation} ends as {outcome.kind} ({outcome.reason}) at a service "
            "that accepts it; correct send(), or the case's `answer` or `service`"
        )
    return outcome


def _require_arrived(service: Service, token: str) -> None:
    count = sum(token in message for message in service.received())
    require(
        count == 1,
        f"a message with the outcome delivered arrived {count} times; send each once, and share "
        "no message between threads",
    )
