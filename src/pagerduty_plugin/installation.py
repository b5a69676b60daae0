"""The provider: PagerDuty, and an account of it that is connected."""

from __future__ import annotations

from collections.abc import Sequence

from hostspec import (
    Demonstration,
    Destination,
    Fault,
    Installation,
    Provider,
    SecretUnavailableError,
)
from pagerduty_plugin.event import routing_key_fault
from pagerduty_plugin.settings import InstallationSettings


class PagerDuty(Provider[InstallationSettings]):
    """PagerDuty, reached with the integration keys of an account's services."""

    name = "pagerduty"
    label = "PagerDuty"
    settings = InstallationSettings

    def destinations(
        self, installation: Installation[InstallationSettings]
    ) -> Sequence[Destination]:
        """Give the services of an account."""
        return [
            Destination(service.name, service.name) for service in installation.settings.services
        ]

    def check(self, installation: Installation[InstallationSettings]) -> Sequence[Fault]:
        """Say which integration keys cannot be read, or are none."""
        faults = []
        for index, service in enumerate(installation.settings.services):
            try:
                reason = routing_key_fault(service.integration_key.reveal())
            except SecretUnavailableError as error:
                reason = str(error)
            if reason:
                faults.append(Fault(f"services[{index}].integration_key", reason))
        return faults

    def demonstration(self) -> Demonstration:
        """Offer a fake PagerDuty on loopback."""
        # a web server of no use to those who only send
        from pagerduty_plugin.testing.demonstration import (  # noqa: PLC0415
            PagerDutyDemonstration,
        )

        return PagerDutyDemonstration()
