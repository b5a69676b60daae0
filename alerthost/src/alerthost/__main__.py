"""The entry point of the command ``alerthost`` and of ``python -m alerthost``."""

from __future__ import annotations

import io
import sys

from alerthost.cli.main import main as command


def main() -> None:
    """Run the command line."""
    if sys.stdin is None:  # closed by the caller: read nothing, and prompt for nothing
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    command(prog_name="alerthost")


if __name__ == "__main__":
    main()
