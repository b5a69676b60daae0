"""The contract between hosts, which raise alerts, and plugins, which deliver them."""

from __future__ import annotations

from hostspec.action import Action, AnyAction, Capabilities, Limit, Preview
from hostspec.alert import Alert
from hostspec.collapse import collapse
from hostspec.demonstration import Demonstration, Table
from hostspec.destination_table import DestinationTable
from hostspec.discovery import Discovery, DiscoveryError, Found, FoundState
from hostspec.faults import Fault, FaultsError
from hostspec.hookspecs import Answer, Hooks, HostSpec
from hostspec.incident import (
    Delivery,
    Handle,
    Incident,
    IncidentState,
    Operation,
    Place,
    Suppression,
)
from hostspec.markers import PROJECT, hookimpl, hookspec
from hostspec.merge import merge
from hostspec.normalise import FrozenDict, Json, Repair, normalise
from hostspec.outcome import Outcome, OutcomeKind, Receipt, SendContext
from hostspec.parts import FaultyAlertError, Identity, Image, Link, Severity, Status
from hostspec.provider import Destination, Installation, Provider
from hostspec.schema import json_schema
from hostspec.secret import LiteralSecretError, Secret, SecretUnavailableError
from hostspec.settings import SettingsError, setting, structure
from hostspec.setup import (
    CALLBACK_HEADERS,
    BegunSetup,
    Connected,
    LeftAside,
    PendingSetup,
    PendingSetups,
    Setup,
    SetupError,
    SetupProblem,
)
from hostspec.values import from_json, to_json

__all__ = [
    "CALLBACK_HEADERS",
    "PROJECT",
    "Action",
    "Alert",
    "Answer",
    "AnyAction",
    "BegunSetup",
    "Capabilities",
    "Connected",
    "Delivery",
    "Demonstration",
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
    "IncidentState",
    "Installation",
    "Json",
    "LeftAside",
    "Limit",
    "Link",
    "LiteralSecretError",
    "Operation",
    "Outcome",
    "OutcomeKind",
    "PendingSetup",
    "PendingSetups",
    "Place",
    "Preview",
    "Provider",
    "Receipt",
    "Repair",
    "Secret",
    "SecretUnavailableError",
    "SendContext",
    "SettingsError",
    "Setup",
    "SetupError",
    "SetupProblem",
    "Severity",
    "Status",
    "Suppression",
    "Table",
    "collapse",
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
