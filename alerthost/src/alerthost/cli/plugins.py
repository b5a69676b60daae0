"""``alerthost plugins`` and ``schema``: lists plugins, and the settings that they accept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from alerthost.cli.options import DEFAULT_FILE, command, with_config
from alerthost.cli.output import Screen
from alerthost.config.accounts import open_accounts
from alerthost.config.document import ConfigFile, refuse
from alerthost.config.plugins import NoDestinationsError, destinations_of, load_plugins
from hostspec.action import AnyAction
from hostspec.plugins.loading import installed, survey
from hostspec.plugins.registry import PluginInfo, Plugins, PluginState
from hostspec.provider import Destination, Provider, Table
from hostspec.schema import json_schema
from hostspec.text import unknown_name


@command("List the plugins.", example="alerthost plugins")
@with_config
def plugins(path: Path) -> None:
    """List the plugins: name, version, distribution, state, providers and actions."""
    infos = _plugins(path).infos
    columns = ("plugin", "version", "distribution", "state", "offers")
    Screen().table(Table("Plugins", columns, tuple(map(_cells, infos))))
    sys.exit(2 if any(info.state is PluginState.FAILED for info in infos) else 0)


def _cells(info: PluginInfo) -> tuple[str, ...]:
    offers = ", ".join((*info.providers, *info.actions, *info.extends)) or "-"
    details = offers if info.state is PluginState.ACTIVE else info.reason
    return (info.name, info.version or "-", info.distribution or "-", info.state, details)


def _plugins(path: Path) -> Plugins:
    """Load the plugins of a configuration; none if the default file does not exist."""
    if path == DEFAULT_FILE and not path.exists():
        return survey(())
    return load_plugins(ConfigFile.read(path))


@command("Print the JSON Schema of settings.", example="alerthost schema pagerduty.trigger acme")
@with_config
@click.argument("name", metavar="PROVIDER|ACTION|PLUGIN")
@click.argument("account", required=False)
def schema(path: Path, name: str, account: str | None) -> None:
    """Print the JSON Schema (2020-12) of the settings of a provider, an action or a plugin.

    With an ACCOUNT, the schema of an action lists the services of that account as choices.
    """
    known = _plugins(path)
    if _offered(known, name) is None and name not in known.settings:
        known = survey(installed())
    offered = _offered(known, name)
    if offered is not None:
        choices = None if account is None else _destinations(path, offered, account)
        printed = json_schema(offered.settings, choices)
    elif name in known.settings:
        if account is not None:
            refuse("ACCOUNT", f"cannot be used: {name} is a plugin, not an action")
        printed = json_schema(known.settings[name])
    else:
        names = (*known.providers, *known.actions, *known.settings)
        raise click.UsageError(unknown_name(name, names))
    click.echo(json.dumps(printed, indent=2, ensure_ascii=False))


def _offered(plugins: Plugins, name: str) -> Provider[Any] | AnyAction | None:
    return plugins.providers.get(name) or plugins.actions.get(name)


def _destinations(
    path: Path, offered: Provider[Any] | AnyAction, account: str
) -> tuple[Destination, ...]:
    if isinstance(offered, Provider):
        refuse("ACCOUNT", f"cannot be used: {offered.name} is a provider, not an action")
    with open_accounts(path) as accounts:
        installation = accounts.find_valid(account)
        if installation.provider != offered.provider:
            refuse("ACCOUNT", f"{account!r} is of {installation.provider}, not {offered.provider}")
        try:
            return destinations_of(accounts.provider(installation.provider), installation)
        except NoDestinationsError as error:
            refuse("ACCOUNT", str(error))
