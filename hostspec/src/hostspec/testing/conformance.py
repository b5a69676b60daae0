"""The checks as pytest classes and fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import pytest

from hostspec.testing import extension_checks as extension
from hostspec.testing import host_checks as host
from hostspec.testing import provider_declarations as declarations
from hostspec.testing import provider_planning as planning
from hostspec.testing import provider_secrets as secrets
from hostspec.testing import provider_sending as sending
from hostspec.testing.extension_checks import ExtensionCase
from hostspec.testing.host_checks import HostCase
from hostspec.testing.provider_case import ProviderCase
from hostspec.testing.support import ConformanceError, fail

T = TypeVar("T")

PROVIDER_CHECKS: Final[tuple[Callable[[ProviderCase], None], ...]] = (
    declarations.check_names,
    declarations.check_settings_classes,
    declarations.check_schemas,
    declarations.check_unknown_keys,
    declarations.check_destinations,
    declarations.check_descriptions,
    declarations.check_settings_for,
    declarations.check_install_flow,
    planning.check_every_alert_is_planned,
    planning.check_plan_is_pure,
    planning.check_follow_up_is_pure,
    planning.check_correlation,
    planning.check_follow_ups,
    planning.check_on_missed,
    planning.check_follow_ups_after_restart,
    planning.check_json_round_trips,
    sending.check_delivers,
    sending.check_network_faults,
    sending.check_addresses,
    sending.check_follow_up_faults,
    sending.check_missing_secret,
    sending.check_probe,
    sending.check_probe_is_honest,
    sending.check_threads,
    sending.check_expected_handle,
    sending.check_limits,
    secrets.check_canary,
    secrets.check_values_hold_no_secret,
    secrets.check_outcomes_hold_no_secret,
    secrets.check_probes_hold_no_secret,
    secrets.check_descriptions_hold_no_secret,
    secrets.check_previews_hold_no_secret,
    secrets.check_logs_hold_no_secret,
    secrets.check_exceptions_hold_no_secret,
)
"""The checks of every provider, each a function of a case."""

HOST_CHECKS: Final[tuple[Callable[[HostCase], None], ...]] = (
    host.check_discovers,
    host.check_disabled_is_not_imported,
    host.check_failing_plan,
    host.check_failing_send,
    host.check_failing_observer,
    host.check_hanging_observer,
    host.check_failing_extension,
    host.check_hanging_extension,
    host.check_fails_closed,
    host.check_observers,
    host.check_follow_ups_stick,
)
"""The checks of every host, each a function of a case."""

EXTENSION_CHECKS: Final[tuple[Callable[[ExtensionCase], None], ...]] = (
    extension.check_loads,
    extension.check_settings,
    extension.check_hooks,
    extension.check_missing_secret,
    extension.check_threads,
    extension.check_secrets,
)
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


def _run_all(checks: Iterable[Callable[[T], None]], case: T) -> None:
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
