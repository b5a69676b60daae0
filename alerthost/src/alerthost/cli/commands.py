"""What the commands of ``alerthost`` share: the option --config, examples, plain mistakes."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from alerthost.cli.screen import Screen, printable
from alerthost.config.document import ConfigurationError
from alerthost.store.errors import StoreError

Command: TypeAlias = Callable[..., None]

DEFAULT_FILE = Path("alerthost.toml")

with_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    help="The configuration file.",
)

TIMEOUT = 120.0
"""Seconds to wait for deliveries: a pause of a minute, which PagerDuty may ask for, and a try."""

with_timeout = click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait, in the end, for what is still on its way.",
)


def example(text: str) -> Callable[[Command], Command]:
    """Close a command's help with an example."""

    def decorate(command: Command) -> Command:
        command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n\b\nExample:\n  {text}\n"
        return command

    return decorate


def speaks_plainly(command: Command) -> Command:
    """Show a mistake in the configuration, or of the store, as what it is, and exit with 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ConfigurationError as error:
            told = [str(fault) for fault in error.faults]
        except StoreError as error:
            told = [str(error)]
        else:
            return
        screen = Screen()
        for text in told:
            screen.complain(printable(text))
        sys.exit(2)

    return wrapped
