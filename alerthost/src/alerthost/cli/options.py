"""What the commands share: their class, which reports errors, and common options."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

from alerthost.cli.output import Screen
from alerthost.config.document import ConfigurationError
from alerthost.store.errors import StoreError

Function: TypeAlias = Callable[..., None]

DEFAULT_FILE: Final = Path("alerthost.toml")

TIMEOUT: Final = 120
"""Seconds to wait for deliveries: a pause of a minute, which PagerDuty may ask for, and a try."""

with_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="The configuration file.",
)
with_timeout = click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for queued deliveries before exiting.",
)
with_most = click.option(
    "--most",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="NUMBER",
    help="List at most this many.",
)
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
with_yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


class Command(click.Command):
    """A command with an example; configuration and store errors are printed, and exit with 2."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if example:
            self.help = f"{inspect.cleandoc(self.help or '')}\n\n\b\nExample:\n  {example}\n"

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ConfigurationError, StoreError) as error:
            screen = Screen()
            for text in messages_of(error):
                screen.print_error(text)
            sys.exit(2)


def messages_of(error: ConfigurationError | StoreError) -> Sequence[str]:
    """Return the message of each fault."""
    return [str(each) for each in getattr(error, "faults", [error])]


class Group(Command, click.Group):
    """A command with subcommands."""

    command_class = Command
    group_class = type  # of groups below this one


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alerthost")
def root() -> None:
    """Receive alerts as JSON, match them by rules, and send them through plugins."""
    # planning failures are shown beside their line already
    logging.getLogger("hostspec.planning").addHandler(logging.NullHandler())


def command(short_help: str, *, example: str) -> Callable[[Function], click.Command]:
    """Make a command of a function, whose docstring is the help."""
    return root.command(short_help=short_help, example=example)
