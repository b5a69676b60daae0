"""The contract between hosts, which raise alerts, and plugins, which deliver them."""

from __future__ import annotations

from hostspec.action import Action, AnyAction, Capabilities, Limit, Preview
from hostspec.alert import Alert
from hostspec.alert_fields import FaultyAlertError, Identity, Image, Link, Severity, Status
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
from hostspec.delivery import (
    Delivery,
    Handle,
    Incident,
    IncidentRef,
    IncidentState,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
    SendContext,
    Suppression,
    coalesce,
    merge,
)
from hostspec.demo import Demo, Table
from hostspec.faults import Fault, FaultsError
from hostspec.hookspecs import Answer, Hooks, HostSpec
from hostspec.markers import PROJECT, hookimpl, hookspec
from hostspec.normalisation import FrozenDict, Json, Repair, normalise
from hostspec.provider import Destination, Installation, Provider
from hostspec.schema import json_schema
from hostspec.secret import LiteralSecretError, Secret, SecretUnavailableError
from hostspec.settings import SettingsError, setting, structure
from hostspec.values import from_json, to_json

__all__ = [
    "CALLBACK_HEADERS",
    "PROJECT",
    "Action",
    "Alert",
    "Answer",
    "AnyAction",
    "Capabilities",
    "Connected",
    "Delivery",
    "Demo",
    "Destination",
    "DestinationTable",
    "Discovery",
    "DiscoveryError",
    "Fault",
    "FaultsError",
    "FaultyAlertError",
    "Found",
    "FoundState",
    "FrozenDict",
    "Handle",
    "Hooks",
    "HostSpec",
    "Identity",
    "Image",
    "Incident",
    "IncidentRef",
    "IncidentState",
    "InstallError",
    "InstallFlow",
    "InstallProblem",
    "InstallRequest",
    "Installation",
    "Json",
    "Limit",
    "Link",
    "LiteralSecretError",
    "Operation",
    "Outcome",
    "OutcomeKind",
    "PendingInstall",
    "PendingInstalls",
    "Preview",
    "Provider",
    "Receipt",
    "Repair",
    "Secret",
    "SecretUnavailableError",
    "SendContext",
    "SettingsError",
    "Severity",
    "Skipped",
    "Status",
    "Suppression",
    "Table",
    "coalesce",
    "from_json",
    "hookimpl",
    "hookspec",
    "json_schema",
    "merge",
    "normalise",
    "setting",
    "structure",
    "to_json",
]
