"""What the commands share: common options, examples in the help, and the report of errors."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from alerthost.cli.output import Screen
from alerthost.config.document import ConfigurationError
from alerthost.store.errors import StoreError

Command: TypeAlias = Callable[..., None]

DEFAULT_FILE = Path("alerthost.toml")

TIMEOUT = 120.0
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
    "--most", type=click.IntRange(1), default=100, show_default=True, help="List at most so many."
)
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
with_yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def example(text: str) -> Callable[[Command], Command]:
    """Append an example to a command's help."""

    def decorate(command: Command) -> Command:
        command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n\b\nExample:\n  {text}\n"
        return command

    return decorate


def report_errors(command: Command) -> Command:
    """Print configuration and store errors on one line each, and exit with 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ConfigurationError as error:
            errors = [str(fault) for fault in error.faults]
        except StoreError as error:
            errors = [str(error)]
        else:
            return
        screen = Screen()
        for text in errors:
            screen.print_error(text)
        sys.exit(2)

    return wrapped
