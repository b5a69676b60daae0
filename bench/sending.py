"""Sending alerts one after another: the plugin against what one would write without it.

All contenders send the same events to a bare responder on loopback, in turn. The official client
refuses plain http, so that everything is measured over TLS as well, where it takes part.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

import pagerduty
import requests  # noqa: TID253 -- what the plugin is measured against
import trustme
from measuring import KEYS, alert, installation, medians, responder, table

from hostspec import SendContext
from pagerduty_plugin import event
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.settings import TriggerSettings
from pagerduty_plugin.trigger import Trigger
from pagerduty_plugin.truncate import encode

EVENTS = 2000
SLICE = 100
"""Events that one contender sends before it is the next one's turn."""
FEW = 10
"""The same for those without a session, who take long."""
ROUNDS = 60
KEY = KEYS["checkout"]
GOALS = {"session": 1.5, "official": 1.2, "without": 2.0}
NAMES = {
    "plugin": "pagerduty-plugin, Trigger.send",
    "session": "(a) requests.Session().post of ready bytes",
    "official": "(b) pagerduty.EventsApiV2Client.trigger",
    "without": "(c) requests.post, no session",
}


def measure(url: str, context: ssl.SSLContext | None) -> tuple[dict[str, float], int]:
    """Return the events per second of each contender, and the plugin's connections."""
    action = Trigger(Client())
    account = installation(url)
    rule = TriggerSettings(services=("checkout",))
    attempt = SendContext()
    deliveries = [
        delivery
        for number in range(EVENTS)
        for delivery in action.plan(alert(number), rule, account, rule="Pages")
    ]
    bodies = [
        encode(event.body(delivery, routing_key=KEY, context=attempt)) for delivery in deliveries
    ]
    events = [json.loads(body) for body in bodies]
    address = f"{url}/v2/enqueue"
    headers = {"Content-Type": "application/json"}

    def plugin(count: int = SLICE) -> None:
        for delivery in deliveries[:count]:
            assert action.send(delivery, account, attempt).delivered

    before = connections(url)
    plugin(EVENTS)
    opened = connections(url) - before
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(requests.Session())

        def session() -> None:
            for body in bodies[:SLICE]:
                assert bare.post(address, data=body, headers=headers).status_code == 202

        def without() -> None:
            for body in bodies[:FEW]:
                assert requests.post(address, data=body, headers=headers).status_code == 202

        contenders: dict[str, Callable[[], object]] = {"plugin": plugin, "session": session}
        if context is not None:
            official = stack.enter_context(
                pagerduty.EventsApiV2Client(KEY, base_url=url, verify=context)
            )

            def trigger() -> None:
                for one in events[:SLICE]:
                    payload = one["payload"]
                    assert official.trigger(
                        payload["summary"],
                        payload["source"],
                        dedup_key=one["dedup_key"],
                        severity=payload["severity"],
                        payload={
                            name: payload[name]
                            for name in ("timestamp", "component", "group", "class")
                        },
                        custom_details=payload["custom_details"],
                        links=one["links"],
                    )

            contenders["official"] = trigger
        contenders["without"] = without
        taken = medians(contenders, ROUNDS)
    return {
        name: (FEW if name == "without" else SLICE) / seconds for name, seconds in taken.items()
    }, opened


def connections(url: str) -> int:
    """Ask the responder how many connections have posted."""
    return int(requests.get(url).text.split()[0])


def show(title: str, rates: dict[str, float], opened: int) -> None:
    rows = []
    for name, rate in rates.items():
        compared = ("", "", "")
        if name in GOALS:
            ratio, goal = rates["plugin"] / rate, GOALS[name]
            compared = (f"{ratio:.2f} x", f"{goal:.1f} x", "yes" if ratio >= goal else "NO")
        rows.append((NAMES[name], f"{rate:,.0f}", *compared))
    table(title, ("", "events/s", "plugin is", "goal", "met"), rows)
    print(f"\n  connections the plugin opened for {EVENTS:,} events: {opened}")


def main() -> None:
    rounds = f"medians of {ROUNDS} rounds in turn, {SLICE} events each, {FEW} of (c)"
    with responder() as url:
        show(f"Sending over plain http ({rounds})", *measure(url, None))
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        bundle, certificate = Path(folder, "ca.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(bundle)
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        os.environ["REQUESTS_CA_BUNDLE"] = str(bundle)
        context = ssl.create_default_context(cafile=str(bundle))
        with responder(str(certificate)) as url:
            show(f"Sending over TLS ({rounds})", *measure(url, context))


if __name__ == "__main__":
    main()
