"""The conformance kit: the checks of every provider, host and extension.

Subclass `ProviderConformance`, `HostConformance` or `ExtensionConformance`; or use the fixtures
``check_provider`` and ``check_host`` with ``pytest_plugins = ["hostspec.testing"]``.

PYTEST_DONT_REWRITE: there is no bare ``assert`` here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TypeAlias, TypeVar

import pytest

from hostspec.testing import (
    extension_checks,
    host_checks,
    provider_declarations,
    provider_planning,
    provider_secrets,
    provider_sending,
)
from hostspec.testing.extension_checks import ExtensionCase
from hostspec.testing.host_checks import HostCase, HostConfig, HostRefusedError, HostRule
from hostspec.testing.provider_case import ProviderCase
from hostspec.testing.service import Answer, NetworkFault, Service, network_faults, serving
from hostspec.testing.support import ConformanceError, fail

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

T = TypeVar("T")

_Checks: TypeAlias = tuple[Callable[[T], None], ...]


def _checks_of(*modules: ModuleType) -> tuple[Callable[[Any], None], ...]:
    """Return the functions of modules that are named ``check_…``, as they are ordered there."""
    members = [member for module in modules for member in vars(module).items()]
    return tuple(function for name, function in members if name.startswith("check_"))


PROVIDER_CHECKS: Final[_Checks[ProviderCase]] = _checks_of(
    provider_declarations, provider_planning, provider_sending, provider_secrets
)
"""The checks of every provider, each a function of a case."""

HOST_CHECKS: Final[_Checks[HostCase]] = _checks_of(host_checks)
"""The checks of every host, each a function of a case."""

EXTENSION_CHECKS: Final[_Checks[ExtensionCase]] = _checks_of(extension_checks)
"""The checks of every extension, each a function of a case."""


def _name(check: object) -> str:
    return str(getattr(check, "__name__", check)).removeprefix("check_")


class ProviderConformance(ProviderCase):
    """The checks every provider must pass. Subclass it as ``Test…``, one class for each action.

    The attributes and methods are those of `ProviderCase`.
    """

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Prepare each check: shorten your timeouts here, for example."""

    @pytest.mark.parametrize("check", PROVIDER_CHECKS, ids=_name)
    def test_conforms(
        self, check: Callable[[ProviderCase], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Run one check."""
        self.prepare(monkeypatch)
        check(self)


class HostConformance(HostCase):
    """The checks every host must pass. Subclass it as ``Test…``, and write ``run``."""

    @pytest.mark.parametrize("check", HOST_CHECKS, ids=_name)
    def test_conforms(self, check: Callable[[HostCase], None]) -> None:
        """Run one check."""
        check(self)


class ExtensionConformance(ExtensionCase):
    """The checks every extension must pass. Subclass it as ``Test…``.

    The attributes and methods are those of `ExtensionCase`.
    """

    @pytest.mark.parametrize("check", EXTENSION_CHECKS, ids=_name)
    def test_conforms(self, check: Callable[[ExtensionCase], None]) -> None:
        """Run one check."""
        check(self)


@pytest.fixture
def check_provider() -> Callable[[ProviderCase], None]:
    """Return a function that runs every check on a provider's case, and reports all failures."""
    return lambda case: _run_all(PROVIDER_CHECKS, case)


@pytest.fixture
def check_host() -> Callable[[HostCase], None]:
    """Return a function that runs every check on a host's case, and reports all failures."""
    return lambda case: _run_all(HOST_CHECKS, case)


def _run_all(checks: _Checks[T], case: T) -> None:
    failed = []
    for check in checks:
        try:
            check(case)
        except ConformanceError as error:
            failed.append(f"{check.__name__}: {error}")
        except Exception as error:  # noqa: BLE001 -- the other checks run, too
            failed.append(f"{check.__name__}: raised {type(error).__name__}: {error}")
    if failed:
        fail("\n".join(failed))
