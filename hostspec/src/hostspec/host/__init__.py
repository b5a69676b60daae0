"""The reference host, ``alerthost``: rules in one TOML file, alerts as JSON lines."""

from __future__ import annotations

import io
import sys
from typing import Final

_EXTRA: Final = {
    *("click", "rich", "sqlalchemy", "alembic", "cryptography"),
    *("starlette", "uvicorn", "prometheus_client"),
}


def main() -> None:
    """Run the command line, or say which extra it needs."""
    if sys.stdin is None:  # it was closed; then there is nothing to read, and nobody to ask
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        from hostspec.host import cli  # noqa: PLC0415 -- an extra's libraries may be missing

        cli.main(prog_name="alerthost")  # a command imports the store where it needs it
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.exit("alerthost needs its extra: pip install 'hostspec[host]'")
