"""The size of the tests with the marker `sized`: small in `make test`, full in `make proof`."""

from __future__ import annotations

import os
from typing import Final

WHOLE: Final = "HOSTSPEC_PROOF" in os.environ
"""Whether the tests run at their full size."""

SEARCHES: Final = "HOSTSPEC_EXAMPLES" in os.environ
"""Whether each run of the state machine tries new stories."""

EXAMPLES: Final = int(os.environ.get("HOSTSPEC_EXAMPLES", "150" if WHOLE else "8"))
"""The number of stories of the state machine on SQLite; a third of it on PostgreSQL."""

KILLS: Final = int(os.environ.get("HOSTSPEC_KILLS", "60" if WHOLE else "2"))
"""The number of times that a real process is killed on each store."""
