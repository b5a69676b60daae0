"""The command line of ``alerthost``."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from alerthost.cli import (
    accounts_commands,
    admin_commands,
    check,
    demo,
    init_command,
    run,
    service_test,
    services_commands,
    session,
    store_commands,
)
from alerthost.cli.commands import DEFAULT_FILE, example, speaks_plainly, with_config, with_timeout
from alerthost.cli.explain import explain as explain_statement
from alerthost.cli.explain import show
from alerthost.cli.progress import summary
from alerthost.cli.screen import Screen, printable
from alerthost.cli.send import Sending, aside
from alerthost.config import configuration
from alerthost.config.accounts import open_accounts
from alerthost.config.destinations import NoDestinationsError, destinations_of
from alerthost.config.document import ConfigFile, refuse
from alerthost.config.plugins import load_plugins
from alerthost.ingest import json_alerts
from hostspec.action import AnyAction
from hostspec.demo import Table
from hostspec.plugins.loading import installed as installed_plugins
from hostspec.plugins.loading import survey
from hostspec.plugins.registry import PluginInfo, Plugins, PluginState
from hostspec.provider import Destination, Provider
from hostspec.schema import json_schema
from hostspec.text import unknown_name


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hostspec")
def main() -> None:
    """Take alerts as JSON, match them by rules, and send them through plugins."""
    # what cannot be planned is shown beside its line, once
    logging.getLogger("hostspec.planning").addHandler(logging.NullHandler())


@main.command(short_help="Send alerts.")
@with_config
@with_timeout
@click.argument("files", type=click.File("rb"), nargs=-1)
@speaks_plainly
@example("alerthost send alerts.jsonl")
def send(path: Path, *, timeout: float, files: tuple[BinaryIO, ...]) -> None:
    """Send the alerts in FILES, one JSON object on each line; standard input without any.

    Each is written to the store first, so that nothing is lost. Shows one line for each
    delivery, and stays until each is delivered or needs somebody. Exits with 0 when every line
    was understood and every delivery delivered, 1 when not, 2 for a mistake in the
    configuration: then nothing is sent.
    """
    source = ConfigFile.read(path)
    loaded = configuration.load(source, ready=True)
    screen = Screen()
    opened = files or (sys.stdin.buffer,)
    with (
        session.begun(source, loaded, screen, earlier=True) as begun,
        screen.progress("sending", None) as progress,
    ):
        following = begun.following(advance=progress.advance)
        following.add_earlier(begun.left)
        Sending(begun.engine, following, begun.interrupts).run(aside(opened), timeout)
        begun.finish(following)
    screen.say(summary(following.tally), "bold")
    session.tell_rest(following.tally, screen)
    sys.exit(0 if following.tally.all_well and not screen.is_broken else 1)


@main.command(short_help="Show what would be sent, and why.")
@with_config
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each line.")
@click.argument("file", type=click.File("rb"), default="-")
@speaks_plainly
@example("alerthost explain alerts.jsonl")
def explain(path: Path, *, as_json: bool, file: BinaryIO) -> None:
    """Show what `send` would send and why, and send nothing; needs no secret.

    For each alert in FILE (standard input by default): which rules match and why, what was
    repaired, and the exact JSON of each delivery with the key masked. Later lines are
    explained as if everything before had been delivered.
    """
    host = configuration.load(ConfigFile.read(path)).host()
    screen = Screen()
    understood = True
    for statement in json_alerts.parse_files([file]):
        explained = explain_statement(host, statement)
        understood = understood and "faults" not in explained
        if as_json:
            screen.give(json.dumps(explained, ensure_ascii=False))
        else:
            show(explained, screen)
        if screen.is_broken:
            break
    sys.exit(0 if understood and not screen.is_broken else 1)


@main.command(name="check", short_help="Check that everything is ready to page.")
@with_config
@click.option("--online", is_flag=True, help="Reach each service too, by what nobody notices.")
@click.option(
    "--alerts",
    type=click.File("rb"),
    metavar="FILE",
    help="Alerts to compare with the rules, instead of the last ones in the store.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell what each severity is sent as.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@example("alerthost check --online")
def check_command(
    path: Path, *, online: bool, alerts: BinaryIO | None, verbose: bool, as_json: bool
) -> None:
    """Check the whole configuration, without paging anyone.

    Plugins, installations, secrets and rules; and that alerts of every severity can be planned.
    Names rules and matchers that match none of the alerts in the store, or in a given file.
    Exits with 0 when all is well, 1 when a service was not reached, 2 for a mistake in the
    configuration.
    """
    screen = Screen()
    given = None if alerts is None else json_alerts.parse_files([alerts])
    found = check.check(path, online=online, alerts=given)
    if as_json:
        screen.give(json.dumps(found, ensure_ascii=False))
    else:
        check.show(found, screen, verbose=verbose)
    sys.exit(check.exit_code(found))


@main.command(name="test", short_help="Open an incident at one service, and close it.")
@with_config
@click.argument("service", metavar="ACCOUNT/SERVICE")
@speaks_plainly
@example("alerthost test acme/checkout")
def test_command(path: Path, service: str) -> None:
    """Test one service: open a marked incident there, acknowledge and close it.

    ACCOUNT alone will do where it has one service. What was opened is closed whatever happens
    in between: on Ctrl-C too. Exits with 0 when all went well, 1 when not, 2 for a mistake in
    the configuration or an unknown service: then nothing is sent.
    """
    loaded = configuration.load(ConfigFile.read(path))
    try:
        aimed = service_test.aim(loaded, service)
    except service_test.CannotTestError as error:
        raise click.UsageError(str(error)) from None
    screen = Screen()
    well = service_test.Trial(loaded, aimed, screen).run()
    sys.exit(0 if well and not screen.is_broken else 1)


@main.command(short_help="List the plugins.")
@with_config
@speaks_plainly
@example("alerthost plugins")
def plugins(path: Path) -> None:
    """List the plugins: name, version, distribution, state, and what they offer."""
    surveyed = _plugins(path)
    rows = tuple(_plugin_row(info) for info in surveyed.infos)
    columns = ("plugin", "version", "distribution", "state", "offers")
    Screen().table(Table("Plugins", columns, rows))
    failed = any(info.state is PluginState.FAILED for info in surveyed.infos)
    sys.exit(2 if failed else 0)


def _plugin_row(info: PluginInfo) -> tuple[str, ...]:
    offers = ", ".join((*info.providers, *info.actions, *info.extends)) or "-"
    told = offers if info.state is PluginState.ACTIVE else info.reason
    return (info.name, info.version or "-", info.distribution or "-", info.state, told)


def _plugins(path: Path) -> Plugins:
    """Load the plugins of the configuration; none where there is no default file."""
    if path == DEFAULT_FILE and not path.exists():
        return survey(())
    return load_plugins(ConfigFile.read(path))


@main.command(short_help="Print the JSON Schema of settings.")
@with_config
@click.argument("name", metavar="PROVIDER|ACTION|PLUGIN")
@click.argument("account", required=False)
@speaks_plainly
@example("alerthost schema pagerduty.trigger acme")
def schema(path: Path, name: str, account: str | None) -> None:
    """Print the JSON Schema (2020-12) of a provider's, an action's or a plugin's settings.

    With an ACCOUNT, an action's has the services of that account as choices.
    """
    everything = _plugins(path)
    if _offered(everything, name) is None and name not in everything.settings:
        everything = survey(installed_plugins())
    offered = _offered(everything, name)
    if offered is not None:
        choices = None if account is None else _destinations(path, offered, account)
        made = json_schema(offered.settings, choices)
    elif name in everything.settings:
        if account is not None:
            refuse("ACCOUNT", f"has no place beside {name}, which is a plugin")
        made = json_schema(everything.settings[name])
    else:
        known = (*everything.providers, *everything.actions, *everything.settings)
        raise click.UsageError(unknown_name(name, known))
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))


def _offered(plugins: Plugins, name: str) -> Provider[Any] | AnyAction | None:
    """Find a provider or action that some plugins offer."""
    return plugins.providers.get(name) or plugins.actions.get(name)


def _destinations(
    path: Path, offered: Provider[Any] | AnyAction, account: str
) -> tuple[Destination, ...]:
    if isinstance(offered, Provider):
        refuse("ACCOUNT", f"has no place beside {offered.name}, which is a provider")
    with open_accounts(path) as accounts:
        _, installation = accounts.find_valid(account)
        if installation.provider != offered.provider:
            refuse("ACCOUNT", f"{account!r} is of {installation.provider}, not {offered.provider}")
        try:
            return destinations_of(accounts.provider(installation.provider), installation)
        except NoDestinationsError as error:
            refuse("ACCOUNT", str(error))


@main.command(short_help="Write a configuration file to start from.")
@with_config
@click.argument("provider", required=False)
@speaks_plainly
@example("alerthost init")
def init(path: Path, provider: str | None) -> None:
    """Write a commented configuration file to start from; no file is overwritten.

    PROVIDER is needed only where plugins offer several.
    """
    offered = survey(installed_plugins())
    names = list(offered.providers)
    if provider is None and len(names) != 1:
        names = list(demo.offered())
    name = provider or (names[0] if len(names) == 1 else "")
    if name not in offered.providers:
        raise click.UsageError(unknown_name(name, offered.providers))
    init_command.write(path, offered, offered.providers[name])
    screen = Screen()
    screen.say(printable(f"wrote {path}; edit it, then `alerthost check` names each missing value"))


@main.command(name="demo", short_help="Show how it works, without an account.")
@click.argument("provider", required=False)
@speaks_plainly
@example("alerthost demo")
def demo_command(provider: str | None) -> None:
    """Show how it works, without an account: send realistic alerts to a stand-in.

    PROVIDER is needed only where several installed plugins have a demonstration.
    """
    demonstrations = demo.offered()
    if provider is None and len(demonstrations) != 1:
        known = ", ".join(demonstrations) or "none: no installed plugin has a demonstration"
        message = f"say which demonstration: {known}"
        raise click.UsageError(message)
    name = provider or next(iter(demonstrations))
    if name not in demonstrations:
        raise click.UsageError(unknown_name(name, demonstrations))
    sys.exit(0 if demo.run(demonstrations[name], Screen()) else 1)


_COMMANDS = (
    *accounts_commands.COMMANDS,
    *admin_commands.COMMANDS,
    services_commands.services,
    run.run,
    store_commands.store,
)
for _command in _COMMANDS:
    main.add_command(_command)
