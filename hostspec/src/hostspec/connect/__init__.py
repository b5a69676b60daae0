"""Connecting accounts: the install flow, discovery, and the table of destinations."""

from __future__ import annotations

from hostspec.connect.destination_table import DestinationTable
from hostspec.connect.discovery import Discovery, DiscoveryError, Found, FoundState
from hostspec.connect.install_flow import (
    CALLBACK_HEADERS,
    Connected,
    InstallError,
    InstallFlow,
    InstallProblem,
    InstallRequest,
    PendingInstall,
    PendingInstalls,
    Skipped,
)

__all__ = [
    "CALLBACK_HEADERS",
    "Connected",
    "DestinationTable",
    "Discovery",
    "DiscoveryError",
    "Found",
    "FoundState",
    "InstallError",
    "InstallFlow",
    "InstallProblem",
    "InstallRequest",
    "PendingInstall",
    "PendingInstalls",
    "Skipped",
]
