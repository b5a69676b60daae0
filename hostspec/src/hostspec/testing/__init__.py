"""The conformance kit: the checks of every provider, host and extension.

Opt in by subclassing `ProviderConformance`, `HostConformance` or `ExtensionConformance`; or,
for the fixtures
``check_provider`` and ``check_host``, by ``pytest_plugins = ["hostspec.testing"]``.

PYTEST_DONT_REWRITE: nothing here is a bare ``assert``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

from hostspec.testing.case import ProviderCase
from hostspec.testing.extending import ExtensionCase
from hostspec.testing.extension import EXTENSION_CHECKS, ExtensionConformance
from hostspec.testing.host import HOST_CHECKS, HostConformance
from hostspec.testing.hosting import HostCase, HostRefusedError, HostRule, HostSetup
from hostspec.testing.network import NetworkFault, network_faults
from hostspec.testing.provider import PROVIDER_CHECKS, ProviderConformance
from hostspec.testing.requirement import ConformanceError, fail
from hostspec.testing.service import Answer, Service, serving

__all__ = [
    "EXTENSION_CHECKS",
    "HOST_CHECKS",
    "PROVIDER_CHECKS",
    "Answer",
    "ConformanceError",
    "ExtensionCase",
    "ExtensionConformance",
    "HostCase",
    "HostConformance",
    "HostRefusedError",
    "HostRule",
    "HostSetup",
    "NetworkFault",
    "ProviderCase",
    "ProviderConformance",
    "Service",
    "check_host",
    "check_provider",
    "network_faults",
    "serving",
]

T = TypeVar("T")


@pytest.fixture
def check_provider() -> Callable[[ProviderCase], None]:
    """Return a function that runs every check on a provider's case, and tells all that fail."""
    return lambda case: _run_all(PROVIDER_CHECKS, case)


@pytest.fixture
def check_host() -> Callable[[HostCase], None]:
    """Return a function that runs every check on a host's case, and tells all that fail."""
    return lambda case: _run_all(HOST_CHECKS, case)


def _run_all(checks: Iterable[Callable[[T], None]], case: T) -> None:
    failed = []
    for check in checks:
        try:
            check(case)
        except ConformanceError as error:
            failed.append(f"{check.__name__}: {error}")
        except Exception as error:  # noqa: BLE001 -- the other checks are told of too
            failed.append(f"{check.__name__}: something raised {type(error).__name__}: {error}")
    if failed:
        fail("\n".join(failed))
