"""The reference host, ``alerthost``: rules in one TOML file, alerts as JSON lines."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from hostspec.host import cli  # noqa: PLC0415 -- an extra's libraries may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit("alerthost needs its extra: pip install 'hostspec[host]'")
    cli.main(prog_name="alerthost")
