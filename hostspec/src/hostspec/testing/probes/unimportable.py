"""The plugin ``conformance-unimportable``: its import exits."""

from __future__ import annotations

import sys

from hostspec.testing.probes import journal

journal.write("imported", plugin="conformance-unimportable")
sys.exit("the plugin exits when it is imported")
