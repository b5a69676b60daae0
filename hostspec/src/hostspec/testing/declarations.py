"""Checks of what a provider and its actions declare."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec.provider import Destination
from hostspec.schema import json_schema
from hostspec.settings import SettingsError, info_of
from hostspec.structuring import structure
from hostspec.testing import samples
from hostspec.testing.case import INSTALLATION, NOWHERE, REFERENCE, ProviderCase, UnderTest
from hostspec.testing.requirement import fail, require
from hostspec.testing.watching import purely

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")

UNKNOWN: Final = "no such setting"
"""A key that no settings class has."""


def check_names(case: ProviderCase) -> None:
    """Provider and action have names that a configuration can hold."""
    provider, action = case.load()
    require(
        _NAME.fullmatch(provider.name),
        f"the provider's name {provider.name!r} is not in lower-case letters, digits, - and _",
    )
    prefix, dot, own = action.name.partition(".")
    require(
        dot and prefix == action.provider and _NAME.fullmatch(own),
        f"the action's name {action.name!r} is not its provider's name, a dot and its own; "
        f"call it {action.provider}.something",
    )


def check_settings_classes(case: ProviderCase) -> None:
    """Settings are frozen, keyword-only attrs classes whose fields have labels."""
    connected = case.connect()
    for kind in dict.fromkeys(type(each) for _, each, _ in _tables(case, connected)):
        require_declared(kind)


def require_declared(kind: Any) -> None:
    """Require that a class of settings is frozen, keyword-only, and labelled.

    Raises:
        ConformanceError: it is not.
    """
    require(
        attrs.inspect(kind).is_frozen,
        f"{kind.__name__} can be changed; declare it with @attrs.frozen(kw_only=True)",
    )
    for field in attrs.fields(kind):
        ref = f"{kind.__name__}.{field.name}"
        require(
            field.kw_only,
            f"{ref} can be given by position; declare {kind.__name__} with kw_only=True",
        )
        require(
            info_of(field).label.strip() and field.metadata,
            f"{ref} has no label for a form; declare it with hostspec.setting(...)",
        )


def check_schemas(case: ProviderCase) -> None:
    """The settings' JSON Schemas are valid, and take the settings of the case."""
    connected = case.connect()
    for kind, raw in (
        (connected.provider.settings, case.installation_settings(NOWHERE, REFERENCE)),
        (connected.action.settings, case.action_settings),
    ):
        schema = json_schema(kind)
        try:
            json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError) as error:
            fail(f"the schema of {kind.__name__} is no JSON: {error}; mend choices and defaults")
        try:
            validator: Any = importlib.import_module("jsonschema").Draft202012Validator
        except ImportError:
            continue
        plain = json.loads(json.dumps(raw, default=dict))
        wrong = [
            *(error.message for error in validator(validator.META_SCHEMA).iter_errors(schema)),
            *(error.message for error in validator(schema).iter_errors(plain)),
        ]
        require(
            not wrong,
            f"the schema of {kind.__name__} is wrong, or refuses the settings of the case: "
            f"{'; '.join(wrong)}; mend choices, defaults and limits of the declaration",
        )


def check_unknown_keys(case: ProviderCase) -> None:
    """A misspelt setting is refused by its path, wherever it stands."""
    connected = case.connect()
    for path, _, of in _tables(case, connected):
        wanted = f"{path}.{UNKNOWN}" if path else UNKNOWN
        try:
            if of == "installation":
                raw = case.installation_settings(NOWHERE, REFERENCE)
                connected.provider.installation(INSTALLATION, _with_unknown(raw, path))
            else:
                structure(connected.action.settings, _with_unknown(case.action_settings, path))
        except SettingsError as error:
            told = [fault.path for fault in error.faults]
            require(
                wanted in told,
                f"the {of}'s unknown setting {wanted!r} is refused without its path "
                f"(told were {told}); let hostspec.structure find it",
            )
        else:
            fail(
                f"the {of} takes the unknown setting {wanted!r}: a misspelling would go unseen; "
                "let hostspec.structure read all that is given"
            )


def check_destinations(case: ProviderCase) -> None:
    """Destinations are told, each with an id of its own, and plans go to them."""
    connected = case.connect()
    told: object = connected.provider.destinations(connected.installation)
    if not isinstance(told, Sequence) or not all(isinstance(each, Destination) for each in told):
        fail("destinations() gave something else than a list of Destination; give such a list")
    ids = [each.id for each in told]
    require(
        len(set(ids)) == len(ids) and all(isinstance(each, str) and each for each in ids),
        f"destinations() gave the ids {ids}; give each destination an id of its own",
    )
    alert = samples.firing("conformance/destination")
    connected.open(alert)
    elsewhere = {delivery.ref.destination for delivery in connected.plan(alert)}.difference(ids)
    require(
        not (ids and elsewhere),
        f"plan() goes to {sorted(elsewhere)}, which destinations() does not tell; "
        "use a destination's id in IncidentRef",
    )


def check_descriptions(case: ProviderCase) -> None:
    """An action says in a sentence what it does, with an installation and without one."""
    connected = case.connect()
    for installation in (connected.installation, None):
        call = functools.partial(connected.action.describe, connected.settings, installation)
        told: object = purely("describe", call)
        require(
            isinstance(told, str) and told.strip() and told.isprintable(),
            f"describe() gave {told!r}; give a sentence on one line",
        )


def check_aims(case: ProviderCase) -> None:
    """Settings aimed at one destination are the action's own, and send there and nowhere else."""
    connected = case.connect()
    action, installation = connected.action, connected.installation
    for destination in connected.destinations():
        settings: object = purely(
            "settings_for", functools.partial(action.settings_for, destination)
        )
        if settings is None:
            continue
        require(
            isinstance(settings, action.settings) and not action.check(settings, installation),
            f"settings_for() gave {settings!r}, which the action itself does not take; give an "
            f"object of {action.settings.__name__}, or None",
        )
        aimed = attrs.evolve(connected, settings=settings)
        aimed.open(samples.firing("conformance/aim"))
        planned = aimed.plan(samples.firing("conformance/aim"))
        refs = {delivery.ref.destination for delivery in planned}
        require(
            refs == {destination.id},
            f"settings aimed at {destination.id!r} send to {sorted(refs)}; name that one alone",
        )


def _tables(case: ProviderCase, connected: UnderTest) -> Iterator[tuple[str, Any, str]]:
    """Return path, object and owner of every settings object that the case's settings hold."""
    installation = case.installation_settings(NOWHERE, REFERENCE)
    for path, each in _objects(installation, connected.installation.settings, ""):
        yield path, each, "installation"
    for path, each in _objects(case.action_settings, connected.settings, ""):
        yield path, each, "action"


def _objects(raw: object, settings: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(raw, Mapping) and attrs.has(type(settings)):
        yield path, settings
        for name, below in raw.items():
            joined = f"{path}.{name}" if path else name
            yield from _objects(below, getattr(settings, name, None), joined)
    elif isinstance(raw, (list, tuple)) and isinstance(settings, tuple):
        for index, (below, item) in enumerate(zip(raw, settings, strict=False)):
            yield from _objects(below, item, f"{path}[{index}]")


def _with_unknown(raw: object, path: str) -> Any:
    """Copy settings, with an unknown key added to the table at a path."""
    copy = json.loads(json.dumps(raw, default=dict))
    table = copy
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        table = table[name or int(index)]
    table[UNKNOWN] = "given"
    return copy
