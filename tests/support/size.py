"""How much the tests with the marker `sized` look at: some in `make test`, all in `make proof`."""

from __future__ import annotations

import os
from typing import Final

WHOLE: Final = "HOSTSPEC_PROOF" in os.environ
"""Whether they run at their full size."""

SEARCHES: Final = "HOSTSPEC_EXAMPLES" in os.environ
"""Whether each run of the state machine looks at other stories than the last one."""

EXAMPLES: Final = int(os.environ.get("HOSTSPEC_EXAMPLES", "150" if WHOLE else "8"))
"""Stories of the state machine on SQLite; a third of them on PostgreSQL."""

KILLS: Final = int(os.environ.get("HOSTSPEC_KILLS", "60" if WHOLE else "3"))
"""Kills of a real process on each store."""
