"""The faults of the network that every provider must turn into an outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import attrs

from hostspec.delivery import OutcomeKind
from hostspec.testing import service
from hostspec.testing.service import Answer, Reaction, Service, serving


@attrs.frozen
class NetworkFault:
    """Something that goes wrong between the provider and its service.

    Attributes:
        name: what reports call it.
        meet: starts a service with the fault; a context manager.
        right: the outcomes that are right.
    """

    name: str
    meet: Callable[[], AbstractContextManager[Service]]
    right: frozenset[OutcomeKind]


LOGIN_PAGE: Final = Answer(
    200, b"<!doctype html><title>Guest network</title><p>Please log in.", "text/html"
)
"""What a captive portal answers instead of the service."""

ANOTHER_202: Final = Answer(202, b'{"queued": true}', "application/json")
"""What some other service at the address answers to whatever it is sent."""


def network_faults(*, idempotent: bool) -> tuple[NetworkFault, ...]:
    """Return the faults that every provider meets some night.

    Args:
        idempotent: whether repeats of the action are. Without it, what may have arrived is
            *uncertain*, and nothing else: a host would send it again.
    """
    kinds = OutcomeKind
    broken = {kinds.UNREACHABLE, kinds.FAULTED} if idempotent else {kinds.UNCERTAIN}
    failed = kinds.FAULTED if idempotent else kinds.UNCERTAIN
    perhaps = {kinds.FAULTED} if idempotent else {kinds.UNCERTAIN}
    return (
        NetworkFault(
            "refused port",
            service.refusing,
            frozenset({kinds.UNREACHABLE} if idempotent else {kinds.UNREACHABLE, kinds.UNCERTAIN}),
        ),
        _fault("reset", service.resetting, *broken),
        _fault("timeout", service.silent, *broken),
        _fault("garbage", service.garbling, *broken),
        _answers("500", Answer(500, b"Internal Server Error"), failed),
        _answers("429", Answer(429, b"Too Many Requests"), kinds.THROTTLED),
        _answers("400", Answer(400, b"Bad Request"), kinds.REFUSED, kinds.MISCONFIGURED),
        _answers("another 202", ANOTHER_202, kinds.UNREACHABLE, kinds.MISCONFIGURED, *perhaps),
        _answers("captive portal", LOGIN_PAGE, kinds.UNREACHABLE, kinds.MISCONFIGURED, *perhaps),
    )


def _fault(name: str, react: Reaction, *right: OutcomeKind) -> NetworkFault:
    return NetworkFault(name, lambda: serving(react), frozenset(right))


def _answers(name: str, answer: Answer, *right: OutcomeKind) -> NetworkFault:
    return _fault(name, service.answering(answer), *right)
