"""Planning one alert for two services, to wire bytes, against one bare post of requests."""

from __future__ import annotations

import requests  # noqa: TID253 -- what the plugin is measured against
from measuring import KEYS, alert, installation, medians, responder, table

from hostspec import Alert, SendContext
from pagerduty_plugin import event
from pagerduty_plugin.settings import TriggerSettings
from pagerduty_plugin.trigger import Trigger
from pagerduty_plugin.truncate import encode

ALERTS = 1000
ROUNDS = 7


def main() -> None:
    with responder() as url:
        action = Trigger()
        account = installation(url)
        rule = TriggerSettings(services=tuple(KEYS))
        context = SendContext()
        alerts = [alert(number) for number in range(ALERTS)]

        def plan(one: Alert) -> list[bytes]:
            return [
                encode(
                    event.body(
                        delivery, routing_key=KEYS[delivery.ref.destination], context=context
                    )
                )
                for delivery in action.plan(one, rule, account, rule="Pages")
            ]

        (body, _) = plan(alerts[0])
        headers = {"Content-Type": "application/json"}
        with requests.Session() as session:

            def post() -> None:
                for _ in range(ALERTS):
                    session.post(f"{url}/v2/enqueue", data=body, headers=headers)

            taken = medians(
                {
                    "reading: fields to alert": lambda: [alert(n) for n in range(ALERTS)],
                    "planning: alert to the bytes of two services": lambda: [
                        plan(one) for one in alerts
                    ],
                    "requests.Session().post of ready bytes, once": post,
                },
                ROUNDS,
            )
    *_, whole = taken.values()
    table(
        f"Planning one alert ({len(body):,} bytes; medians of {ROUNDS} rounds of {ALERTS:,})",
        ("", "µs", "of one post"),
        [(name, f"{t / ALERTS * 1e6:.0f}", f"{t / whole:.1%}") for name, t in taken.items()],
    )


if __name__ == "__main__":
    main()
