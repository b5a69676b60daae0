"""The contract between hosts, which raise alerts, and plugins, which deliver them."""

from __future__ import annotations

from hostspec.action import Action, AnyAction, Capabilities, DurableAction, Limit, Preview
from hostspec.alert import Alert, FaultyAlertError, Identity, Image, Link, Severity, Status
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
)
from hostspec.errors import Fault, FaultsError
from hostspec.hookspecs import Answer, Hooks, hookimpl, hookspec
from hostspec.normalisation import Json, Repair
from hostspec.provider import Destination, Installation, Provider
from hostspec.schema import json_schema
from hostspec.secret import Secret, SecretUnavailableError
from hostspec.settings import SettingsError, setting
from hostspec.structuring import structure
from hostspec.values import from_json, to_json

__all__ = [
    "Action",
    "Alert",
    "Answer",
    "AnyAction",
    "Capabilities",
    "Delivery",
    "Destination",
    "DurableAction",
    "Fault",
    "FaultsError",
    "FaultyAlertError",
    "Handle",
    "Hooks",
    "Identity",
    "Image",
    "Incident",
    "IncidentRef",
    "IncidentState",
    "Installation",
    "Json",
    "Limit",
    "Link",
    "Operation",
    "Outcome",
    "OutcomeKind",
    "Preview",
    "Provider",
    "Receipt",
    "Repair",
    "Secret",
    "SecretUnavailableError",
    "SendContext",
    "SettingsError",
    "Severity",
    "Status",
    "Suppression",
    "from_json",
    "hookimpl",
    "hookspec",
    "json_schema",
    "setting",
    "structure",
    "to_json",
]
