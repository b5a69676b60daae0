"""The conformance kit: the checks of every provider, host and extension.

Subclass `ProviderConformance`, `HostConformance` or `ExtensionConformance`; or use the fixtures
``check_provider`` and ``check_host`` with ``pytest_plugins = ["hostspec.testing"]``.

PYTEST_DONT_REWRITE: there is no bare ``assert`` here.
"""

from __future__ import annotations

from hostspec.testing.conformance import (
    EXTENSION_CHECKS,
    HOST_CHECKS,
    PROVIDER_CHECKS,
    ExtensionConformance,
    HostConformance,
    ProviderConformance,
    check_host,
    check_provider,
)
from hostspec.testing.extension_checks import ExtensionCase
from hostspec.testing.host_checks import HostCase, HostConfig, HostRefusedError, HostRule
from hostspec.testing.provider_case import ProviderCase
from hostspec.testing.service import Answer, NetworkFault, Service, network_faults, serving
from hostspec.testing.support import ConformanceError

__all__ = [
    "EXTENSION_CHECKS",
    "HOST_CHECKS",
    "PROVIDER_CHECKS",
    "Answer",
    "ConformanceError",
    "ExtensionCase",
    "ExtensionConformance",
    "HostCase",
    "HostConfig",
    "HostConformance",
    "HostRefusedError",
    "HostRule",
    "NetworkFault",
    "ProviderCase",
    "ProviderConformance",
    "Service",
    "check_host",
    "check_provider",
    "network_faults",
    "serving",
]
