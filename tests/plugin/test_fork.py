"""After a fork, parent and child have separate connections."""

from __future__ import annotations

import json
import os

import pytest

from pagerduty_plugin.http.client import Client
from pagerduty_plugin.http.responses import Reply
from pagerduty_plugin.testing import FakePagerDuty


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_makes_its_own_connections(fake: FakePagerDuty) -> None:
    client = Client({})
    url = f"{fake.url}/v2/enqueue"
    body = json.dumps(
        {"routing_key": "k" * 32, "event_action": "resolve", "dedup_key": "x"}
    ).encode()

    def post() -> bool:
        return isinstance(client.post(url, body), Reply)

    assert post()
    child = os.fork()
    if child == 0:
        os._exit(0 if post() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert post()

    client._process = 0  # as in a child, whose coverage is not measured
    assert post()

    parent, other, again, like_a_child = (request.connection for request in fake.requests)
    assert parent == again
    assert len({parent, other, like_a_child}) == 3
