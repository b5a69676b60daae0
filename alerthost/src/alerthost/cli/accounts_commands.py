"""The commands that connect, list and disconnect accounts."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs
import click

from alerthost.cli import prompts
from alerthost.cli.commands import example, speaks_plainly, with_config, with_timeout
from alerthost.cli.disconnect import RESOLVE, Departing, with_choice
from alerthost.cli.screen import Screen, printable
from alerthost.config import cli_settings
from alerthost.config.accounts import Account, Accounts, open_accounts
from alerthost.config.destinations import NoDestinationsError, destinations_of
from alerthost.config.document import ConfigFile, ConfigurationError, refuse
from alerthost.config.store import open_store
from hostspec.connect.discovery import DiscoveryError
from hostspec.connect.install_flow import Connected, InstallError
from hostspec.demo import Table
from hostspec.errors import Fault
from hostspec.provider import Installation
from hostspec.secret import Secret
from hostspec.settings import SettingsError
from hostspec.structuring import settings_to_json, structure

DEFAULT_PORT: Final = 9096


@attrs.frozen
class _Given:
    """What the command line says of settings."""

    file: BinaryIO | None
    settings: tuple[str, ...]
    services: tuple[str, ...] = ()

    def complete(self, kind: type, judge: prompts.Judge, screen: Screen) -> dict[str, Any]:
        """Put it together, and ask a person for what it lacks.

        Raises:
            ConfigurationError: something is wrong, or lacks and there is nobody to ask.
        """
        raw, misread = cli_settings.read(kind, self.file, self.settings, self.services)
        faults = judge(raw)
        wrong = [fault for fault in faults if _top(fault) in raw or not fault.path]
        if misread:  # so what seems to lack may be there
            raise ConfigurationError([*misread, *wrong])
        if wrong or not (faults and prompts.can_ask()):
            _refuse_incomplete(faults, wrong)
            return raw
        try:
            return prompts.ask(kind, raw, judge, screen)
        except SettingsError as error:
            raise ConfigurationError(error.faults) from None


def _top(fault: Fault) -> str:
    return fault.path.partition(".")[0].partition("[")[0]


def _refuse_incomplete(faults: Sequence[Fault], wrong: Sequence[Fault]) -> None:
    if len(faults) > len(wrong):
        how = (
            "give what is missing with --set NAME=VALUE, --service NAME=REFERENCE or "
            "--settings FILE; at a terminal it is asked for"
        )
        faults = (*faults, Fault("", how))
    if faults:
        raise ConfigurationError(faults)


@click.command(short_help="Connect an account.")
@with_config
@click.option(
    "--settings", "file", type=click.File("rb"), help="Settings as TOML or JSON; - is stdin."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One setting.")
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME=REFERENCE",
    help="One service and where its key is: env:NAME, file:PATH or keyring:SERVICE/NAME. "
    "With --discover just its name, or its id.",
)
@click.option("--discover", is_flag=True, help="Ask the provider which services there are.")
@click.option("--all", "everything", is_flag=True, help="Of --discover: connect all services.")
@click.option("--yes", is_flag=True, help="Of --discover: create what lacks without asking.")
@click.option("--install-flow", is_flag=True, help="Connect in a browser, at the provider.")
@click.option("--app-id", metavar="ID", help="The same as --set app_id=ID.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Of the install flow: where on loopback the browser comes back to; 0 takes a free one.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address to open.")
@click.argument("provider")
@click.argument("name", required=False)
@speaks_plainly
@example("alerthost connect pagerduty acme --service checkout=env:PD_CHECKOUT")
def connect(  # noqa: PLR0913 -- one argument for each option
    path: Path,
    *,
    file: BinaryIO | None,
    settings: tuple[str, ...],
    services: tuple[str, ...],
    discover: bool,
    everything: bool,
    yes: bool,
    install_flow: bool,
    app_id: str | None,
    port: int,
    no_browser: bool,
    provider: str,
    name: str | None,
) -> None:
    """Connect an account of PROVIDER and keep it in the store, its secrets sealed.

    Asks for what is needed, unless the options give it. NAME is what rules will call the
    account. With --install-flow the provider's page in a browser asks instead; with --discover
    the provider is asked what the account holds.
    """
    screen = Screen()
    if install_flow and discover:
        refuse("--discover", "has no place beside --install-flow")
    if everything and services:
        refuse("--all", "has no place beside --service")
    settings = (*settings, f"app_id={app_id}") if app_id else settings
    asked = _Given(file, settings, () if discover else services)
    with open_accounts(path) as accounts:
        if name is not None and (fault := accounts.name_fault(name)):
            again = "; to connect it again, leave the name out" if install_flow or discover else ""
            refuse("", f"{fault}{again}")
        if install_flow:
            connected = _connect_in_browser(
                accounts, provider, asked, screen, name=name or "", port=port, opens=not no_browser
            )
        elif discover:
            chosen = ("all",) if everything else services
            connected = _connect_by_discovery(
                accounts, provider, asked, screen, name=name or "", chosen=chosen, yes=yes
            )
        else:
            connected = _connect_by_hand(accounts, provider, asked, screen, name)
        _tell_connected(accounts, connected, screen)
        if name not in (None, connected.installation.name):
            screen.note(f"the account was there already, so {name} is not its name")


def _connect_by_hand(
    accounts: Accounts, provider: str, asked: _Given, screen: Screen, name: str | None
) -> Connected[Any]:
    offered = accounts.provider(provider)
    nameless = []
    if name is None and prompts.can_ask():
        name = _ask_name(accounts, screen)
    elif name is None:
        nameless = [Fault("NAME", "missing; it is what rules will call the account")]
    called = name or ""
    try:
        raw = asked.complete(
            offered.settings, lambda answers: accounts.check(provider, called, answers), screen
        )
    except ConfigurationError as error:
        raise ConfigurationError([*nameless, *error.faults]) from None
    if nameless:
        raise ConfigurationError(nameless)
    installation = offered.installation(called, raw)
    accounts.add(installation)
    return Connected(installation)


def _ask_name(accounts: Accounts, screen: Screen) -> str:
    screen.complain("What rules will call the account.", "dim")
    while True:
        name = str(click.prompt("Name", type=str, err=True)).strip()
        fault = accounts.name_fault(name)
        if fault is None:
            return name
        screen.complain(printable(fault))


def _connect_in_browser(  # noqa: PLR0913 -- one argument for each option
    accounts: Accounts,
    provider: str,
    asked: _Given,
    screen: Screen,
    *,
    name: str,
    port: int,
    opens: bool,
) -> Connected[Any]:
    from alerthost.cli import browser  # noqa: PLC0415 -- a web server of no use to the others

    setup = accounts.provider(provider).install_flow()
    if setup is None:
        refuse("--install-flow", f"{provider} has none; leave it out")
    accounts.check_key()
    raw = asked.complete(setup.settings, lambda answers: _faults(setup.settings, answers), screen)
    try:
        return browser.connect(
            accounts,
            setup,
            structure(setup.settings, raw),
            screen,
            name=name,
            port=port,
            opens=opens,
        )
    except InstallError as error:
        screen.complain(printable(f"not connected: {error.reason}"))
        sys.exit(1)
    except OSError as error:
        refuse("--port", f"cannot listen on {port}: {error.strerror}")


def _connect_by_discovery(  # noqa: PLR0913 -- one argument for each option
    accounts: Accounts,
    provider: str,
    asked: _Given,
    screen: Screen,
    *,
    name: str,
    chosen: Sequence[str],
    yes: bool,
) -> Connected[Any]:
    from alerthost.cli import discover  # noqa: PLC0415 -- of no use to the others

    discovery = accounts.provider(provider).discovery()
    if discovery is None:
        refuse("--discover", f"{provider} has none; leave it out")
    accounts.check_key()
    kind = discovery.settings
    raw = asked.complete(kind, lambda answers: _faults(kind, answers), screen)
    try:
        return discover.connect(
            accounts,
            discovery,
            structure(kind, raw),
            screen,
            name=name,
            chosen=chosen,
            go_ahead=lambda question: prompts.go_ahead(question, yes=yes),
        )
    except DiscoveryError as error:
        screen.complain(printable(f"not connected: {error}"))
        sys.exit(1)


def _faults(kind: type, raw: Mapping[str, Any]) -> Sequence[Fault]:
    try:
        structure(kind, raw)
    except SettingsError as error:
        return error.faults
    return ()


def _tell_connected(accounts: Accounts, connected: Connected[Any], screen: Screen) -> None:
    installation = connected.installation
    names = _destinations(accounts, installation)
    again = " again" if connected.again else ""
    told = f"connected {installation.name}{again}, with {names}; kept in {accounts.store.location}"
    screen.say(printable(told), "green")
    for note in connected.notes:
        screen.note(note)
    for aside in connected.skipped:
        named = aside.name or "something without a name"
        kind = f" ({aside.kind})" if aside.kind else ""
        screen.complain(printable(f"left aside: {named}{kind}: {aside.reason}"), "yellow")
    for note in accounts.notes():
        screen.note(note)


def _destinations(accounts: Accounts, installation: Installation[Any]) -> str:
    provider = accounts.plugins.providers[installation.provider]
    try:
        names = ", ".join(each.name for each in destinations_of(provider, installation))
    except NoDestinationsError as error:
        return printable(f"({error})")
    return printable(names) or "nothing"


@click.group(invoke_without_command=True, short_help="List or change the connected accounts.")
@with_config
@click.pass_context
@speaks_plainly
@example("alerthost installations")
def installations(context: click.Context, path: Path) -> None:
    """List the accounts: those the file declares, and those in the store."""
    context.obj = path
    if context.invoked_subcommand is None:
        _list(path)


@installations.command(name="set", short_help="Change settings of an account.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.argument("account")
@click.argument("settings", metavar="NAME=VALUE...", nargs=-1, required=True)
@click.pass_obj
@speaks_plainly
@example("alerthost installations set acme rate_limit=240 network.timeout=10")
def set_command(path: Path, *, yes: bool, account: str, settings: tuple[str, ...]) -> None:
    """Change settings of ACCOUNT in the store: all of them, or none where one is wrong.

    Of a list, give NAME=VALUE once for each entry; of a table, TABLE.NAME=VALUE. The change is
    confirmed first if it orphans open incidents: these cannot be closed from here afterwards.
    """
    screen = Screen()

    def change(before: Any) -> Any:
        raw, faults = cli_settings.read(type(before), settings=settings)
        if faults:
            raise ConfigurationError(faults)
        kept = settings_to_json(before, write=lambda secret: secret)
        return structure(type(before), _merged(kept, raw))

    with open_accounts(path) as accounts:
        stored = accounts.find_stored(account)
        _, before = accounts.find_valid(account)
        after = accounts.changed(account, change)
        consequences = accounts.consequences(account, after)
        prompts.tell_consequences((*consequences.faults, *consequences.changes), screen)
        if Departing.by_change(accounts, before, after, account).list_open(screen):
            screen.complain(printable(_ORPHANED), "yellow")
            prompts.go_ahead(f"Change {account} all the same?", yes=yes)
        accounts.change(account, change)
    screen.say(printable(f"changed {stored.name}"), "green")


_ORPHANED: Final = (
    "After that, these incidents cannot be closed from here: resolve them first, or at the provider"
)


def _merged(kept: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Put new settings into those that are kept, and into the tables among them."""
    merged = dict(kept)
    for name, value in new.items():
        match kept.get(name), value:
            case dict(old), dict():
                merged[name] = _merged(old, value)
            case _:
                merged[name] = value
    return merged


def _list(path: Path) -> None:
    screen = Screen()
    with open_accounts(path) as accounts:
        found = accounts.all()
        rows = tuple(
            (
                printable(account.name),
                account.provider,
                _destinations(accounts, account.installation) if account.installation else "-",
                account.location,
            )
            for account in found
        )
        columns = ("name", "provider", "services", "where")
        screen.table(Table("Installations", columns, rows))
        for note in accounts.notes():
            screen.note(note)
        faults = [fault for account in found for fault in account.located_faults]
        faults += _of_one_name(found)
    if faults:
        raise ConfigurationError(faults)


def _of_one_name(accounts: Sequence[Account]) -> list[Fault]:
    counted = Counter(account.name for account in accounts)
    return [
        Fault(
            account.location,
            f"{account.name!r} is defined twice; rename or remove one of them",
        )
        for account in accounts
        if counted[account.name] > 1
    ]


@click.command(short_help="Remove an account from the store.")
@with_config
@click.option("--yes", is_flag=True, help="Do it without asking.")
@with_choice
@with_timeout
@click.argument("account")
@speaks_plainly
@example("alerthost disconnect acme --resolve")
def disconnect(path: Path, *, yes: bool, what: str | None, timeout: float, account: str) -> None:
    """Remove ACCOUNT from the store with its keys; nothing else changes at the provider.

    While rules name it that is refused, unless --yes says so. While incidents are open there,
    it lists them and asks whether to close them first: afterwards nobody here can.
    """
    screen = Screen()
    with open_accounts(path) as accounts:
        stored = accounts.find_stored(account)
        broken = accounts.consequences(account, None).faults
        prompts.tell_consequences(broken, screen)
        if broken and not yes:
            refuse("", f"rules name {account}: change them first, or say --yes")
        departing = Departing(accounts, account, account)
        chosen = departing.choose(what, screen)
        prompts.go_ahead(f"Disconnect {account}?", yes=yes)
        if chosen == RESOLVE:
            departing.close(screen, timeout, "not disconnected")
        accounts.store.installations.remove(stored)
    screen.say(printable(f"disconnected {account}"), "green")


@click.command(short_help="Seal the secrets in the store again, with a new key.")
@with_config
@click.option(
    "--old-key",
    metavar="REFERENCE",
    help="The key that sealed them: env:NAME, file:PATH or keyring:SERVICE/NAME. Not needed where "
    "it stands behind the new one.",
)
@speaks_plainly
@example("alerthost reseal --old-key file:alerthost.key.old")
def reseal(path: Path, old_key: str | None) -> None:
    """Seal every secret in the store again with the key that [store] names now; all or none.

    Where that place holds several keys, the first one seals. The older ones may go afterwards.
    """
    old = None if old_key is None else Secret(cli_settings.reference("--old-key", old_key))
    with open_store(ConfigFile.read(path)) as store:
        if store.key is None:
            refuse("[store] key", "missing; it says where the new key is")
        count = store.installations.reseal(old)
        secrets = "1 secret" if count == 1 else f"{count} secrets"
        told = f"sealed {secrets} in {store.location} with the newest key of {store.key.masked()}"
        Screen().say(printable(told), "green")


@click.command(name="new-key", short_help="Make a key for the store.")
@click.option("--write", "file", type=click.Path(path_type=Path), help="A new file for it.")
@speaks_plainly
@example("alerthost new-key --write alerthost.key")
def new_key(file: Path | None) -> None:
    """Make a fresh key that seals the secrets in the store, and print it.

    With --write it goes into a new file that only you can read. Whoever has the key and the
    database has the secrets; without the key they are lost.
    """
    from alerthost.store import sealing  # noqa: PLC0415 -- brings a library that takes its time

    key = sealing.new_key()
    if file is None:
        click.echo(key)
        return
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        reason = "is there already; what is sealed with the key in it would be lost"
        refuse(str(file), reason)
    except OSError as error:
        refuse(str(file), f"cannot be written: {error.strerror}")
    with os.fdopen(descriptor, "w", encoding="ascii") as written:
        written.write(f"{key}\n")
    screen = Screen()
    screen.say(printable(f"wrote {file}"), "green")
    screen.say("In alerthost.toml, name it so:")
    screen.give(f'[store]\nkey = "file:{file}"')


COMMANDS: Final = (connect, installations, disconnect, new_key, reseal)
