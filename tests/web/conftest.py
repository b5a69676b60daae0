"""What the tests of web frameworks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted import Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server
