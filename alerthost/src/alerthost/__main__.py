"""The entry point of the command ``alerthost`` and of ``python -m alerthost``."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line."""
    if sys.stdin is None:  # closed by the caller: read nothing, and prompt for nothing
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    if sys.argv[1:2] == ["exec"]:  # not through the other commands: their imports take 0.3 s
        from alerthost_client import exec as execution  # noqa: PLC0415

        sys.exit(execution.main(sys.argv[2:], "alerthost exec"))
    from alerthost.cli.main import main as command  # noqa: PLC0415

    command(prog_name="alerthost")


if __name__ == "__main__":
    main()
