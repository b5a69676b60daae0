"""``alerthost exec``: listed with the other commands; `alerthost.__main__` runs it without them."""

from __future__ import annotations

import sys

import click

from alerthost.cli.options import root
from alerthost_client import exec as execution


@root.command(
    "exec",
    short_help="Run a command, and fire an alert when it fails.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def execute(arguments: tuple[str, ...]) -> None:
    """Run a command, and fire an alert when it fails or takes too long."""
    sys.exit(execution.main(arguments, "alerthost exec"))
