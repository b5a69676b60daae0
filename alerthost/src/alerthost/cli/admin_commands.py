"""The commands that show what became of alerts, and let a person decide about it."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from alerthost.cli import deliveries, incidents, operations, session
from alerthost.cli.commands import example, speaks_plainly, with_config, with_timeout
from alerthost.cli.incidents import Reach
from alerthost.cli.progress import summary
from alerthost.cli.screen import Screen, columns, printable
from alerthost.config import configuration, store
from alerthost.config.accounts import Accounts, open_accounts
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import ConfigFile, refuse

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import DeliveryRow, Unsent

MOST: Final = 100
"""Deliveries or incidents of a kind that are listed where nobody says how many."""

REPLAYED_TOGETHER: Final = 1000
"""Replays that are followed at once."""

AGAIN: Final = 1.0
"""Seconds between two looks of `deliveries --watch`."""

_with_json = click.option("--json", "as_json", is_flag=True, help="For machines.")
_with_most = click.option(
    "--most", type=click.IntRange(1), default=MOST, show_default=True, help="How many of a kind."
)


@attrs.frozen(eq=False)
class _Look:
    """The store, and what names what is in it."""

    accounts: Accounts
    admin: Admin
    lanes: LaneNames
    reach: Reach


@contextlib.contextmanager
def _look(path: Path) -> Iterator[_Look]:
    """Look into the store of a configuration, whatever is wrong with its rules."""
    from alerthost.outbox.admin import Admin  # noqa: PLC0415 -- libraries that take their time

    with open_accounts(path) as accounts, store.database_of(accounts.source) as database:
        installations = accounts.installations()
        lanes = LaneNames.of(Configuration(accounts.plugins, installations, ()))
        admin = Admin(database, accounts.plugins, time.time)
        yield _Look(accounts, admin, lanes, Reach.of(accounts.plugins, installations))


@click.command(name="deliveries", short_help="Show what waits, was given up, or was sent.")
@with_config
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(deliveries.STATES),
    help="Only those in this state; may be given several times.",
)
@_with_most
@click.option("--watch", is_flag=True, help="Go on showing what changes, until Ctrl-C.")
@_with_json
@speaks_plainly
@example("alerthost deliveries --state rejected --state orphaned")
def deliveries_command(
    path: Path, *, states: tuple[str, ...], most: int, watch: bool, as_json: bool
) -> None:
    """Show deliveries: those that wait or were given up, and the most recent others.

    A blocked delivery waits for somebody to mend what the last column says. Alerts that
    could not be planned are shown, too; those that no rule matches, that are outdated, or that a
    plugin suppressed are shown with --state.
    """
    screen = Screen()
    with _look(path) as look:
        if watch:
            _watch(look, states, most, screen, as_json=as_json)
        else:
            _list(look, states, most, screen, as_json=as_json)
    sys.exit(1 if screen.is_broken else 0)


def _found(
    look: _Look, states: Sequence[str], most: int
) -> tuple[Sequence[DeliveryRow], Sequence[Unsent]]:
    if not look.admin.exists:
        return (), ()
    return (
        deliveries.find(look.admin, states, most),
        deliveries.find_unsent(look.admin, states, most),
    )


def _list(look: _Look, states: Sequence[str], most: int, screen: Screen, *, as_json: bool) -> None:
    found, unsent = _found(look, states, most)
    if as_json:
        listed = [deliveries.as_json(entry, look.lanes) for entry in found]
        _give([*listed, *map(deliveries.unsent_as_json, unsent)], screen)
        return
    if found or unsent:
        screen.table(deliveries.table(found, unsent, look.lanes, time.time()))
    screen.say(_counts(look), "bold")
    if look.admin.exists and deliveries.is_left_alone(look.admin):
        screen.note(
            "no process works on the queued deliveries: start `alerthost run`, or `alerthost send`"
        )


def _counts(look: _Look) -> str:
    return deliveries.counts(look.admin) if look.admin.exists else "Nothing was accepted yet."


def _watch(look: _Look, states: Sequence[str], most: int, screen: Screen, *, as_json: bool) -> None:
    changes = deliveries.Changes()
    with contextlib.suppress(KeyboardInterrupt), screen.live() as live:
        while not screen.is_broken:
            found, unsent = _found(look, states, most)
            if live is not None and not as_json:
                live(deliveries.table(found, unsent, look.lanes, time.time()), _counts(look))
            elif as_json:
                for entry in changes.among(found):
                    _give(deliveries.as_json(entry, look.lanes), screen)
                for each in changes.among_unsent(unsent):
                    _give(deliveries.unsent_as_json(each), screen)
            else:
                for entry in changes.among(found):
                    _show_row(deliveries.row(entry, look.lanes, time.time()), screen)
                for each in changes.among_unsent(unsent):
                    _show_row(deliveries.unsent_row(each, time.time()), screen)
            time.sleep(AGAIN)


def _show_row(row: Sequence[str], screen: Screen) -> None:
    number, *cells = row
    screen.say(columns((number.rjust(6), *cells), (6, 10, 11, 16, 20, 6)))


def _give(value: Any, screen: Screen) -> None:
    screen.give(json.dumps(value, ensure_ascii=False))


@click.command(short_help="Try deliveries again that were given up.")
@with_config
@click.option("--all", "everything", is_flag=True, help="All of them, but the uncertain.")
@click.option("--as-is", is_flag=True, help="As they were planned, even if the problem is over.")
@with_timeout
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@speaks_plainly
@example("alerthost replay 12")
def replay(
    path: Path, *, everything: bool, as_is: bool, timeout: float, ids: tuple[int, ...]
) -> None:
    """Try the deliveries again that are rejected, dead, orphaned or uncertain.

    Each is planned again by the rules of today, so that nobody is paged for a problem that is
    over. With --all those that are uncertain are left out: repeated, they may be there twice.
    """
    if everything == bool(ids):
        refuse("ID", "name the deliveries to replay, or say --all; `alerthost deliveries` has them")
    source = ConfigFile.read(path)
    loaded = configuration.load(source)
    screen = Screen()
    with session.begun(source, loaded, screen) as begun:
        numbers = ids or operations.given_up(begun.engine.admin)
        with screen.progress("replaying", len(numbers)) as progress:
            following = begun.following(advance=progress.advance)
            for number in itertools.takewhile(lambda _: not begun.interrupts.count, numbers):
                operations.replay(begun.engine.admin, number, following, as_is=as_is)
                begun.make_room(following, REPLAYED_TOGETHER)
            begun.wait(following, timeout)
            begun.finish(following)
    screen.say(summary(following.tally, "replay"), "bold")
    session.tell_rest(following.tally, screen)
    sys.exit(0 if following.tally.all_well and not screen.is_broken else 1)


@click.command(short_help="Discard deliveries or submissions.")
@with_config
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@speaks_plainly
@example("alerthost discard 12")
def discard(path: Path, ids: tuple[str, ...]) -> None:
    """Discard queued and given-up deliveries: nothing is sent.

    Also discards submissions that failed or are dead, by their submission_id (see
    `alerthost deliveries --json`).
    """
    screen = Screen()
    done = True
    with _look(path) as look:
        for name in ids:
            if not name.isdecimal():
                done = operations.discard_submission(look.admin, name, screen) and done
                continue
            number = int(name)
            fault = operations.discard_delivery(look.admin, number)
            done = done and not fault
            if fault:
                screen.complain(printable(fault))
            else:
                screen.say(f"discarded {number}", "green")
    sys.exit(0 if done and not screen.is_broken else 1)


@click.command(name="incidents", short_help="Show what is open, and where.")
@with_config
@click.option("--account", metavar="NAME", help="Only those in one account.")
@_with_most
@_with_json
@speaks_plainly
@example("alerthost incidents --account acme")
def incidents_command(path: Path, *, account: str | None, most: int, as_json: bool) -> None:
    """Show the open incidents: severity, service, age and summary.

    What is orphaned or cut off can be closed by nobody here; close it at the provider.
    """
    screen = Screen()
    with _look(path) as look:
        found = operations.incidents_of(look.admin, account, most)
        if account is not None and not found:
            look.accounts.find(account)  # one that is gone may have left something open
        if as_json:
            _give([incidents.as_json(case, look.lanes, look.reach) for case in found], screen)
        elif found:
            screen.table(incidents.table(found, look.lanes, look.reach, time.time()))
            if len(operations.incidents_of(look.admin, account, most + 1)) > len(found):
                screen.complain("there are more; --most says how many are listed", "yellow")
        else:
            screen.say("Nothing is open.", "bold")
    sys.exit(1 if screen.is_broken else 0)


@click.command(short_help="Close incidents by hand.")
@with_config
@click.option(
    "--here", is_flag=True, help="Only forget them here: they were closed at the provider."
)
@with_timeout
@click.argument("ids", metavar="INCIDENT...", type=int, nargs=-1, required=True)
@speaks_plainly
@example("alerthost resolve 7")
def resolve(path: Path, *, here: bool, timeout: float, ids: tuple[int, ...]) -> None:
    """Close the incidents at their provider, whoever holds them open.

    An alert that goes on firing opens a new one with its next statement.
    """
    screen = Screen()
    if here:
        with _look(path) as look:
            closed = [operations.forget(look.admin, number, screen) for number in ids]
        sys.exit(0 if all(closed) and not screen.is_broken else 1)
    source = ConfigFile.read(path)
    loaded = configuration.load(source)
    with session.begun(source, loaded, screen) as begun:
        following = operations.resolve(begun, ids, timeout)
    screen.say(summary(following.tally, "incident"), "bold")
    session.tell_rest(following.tally, screen)
    sys.exit(0 if following.tally.all_well and not screen.is_broken else 1)


COMMANDS: Final = (deliveries_command, replay, discard, incidents_command, resolve)
