"""An installation with secrets in every place where settings may have them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from hostspec import Secret, setting

CANARY = "c4n4ry-0123456789abcdef"


@attrs.frozen(kw_only=True)
class Account:
    token: Secret | None = setting("Token", default=None)
    keys: Secret | tuple[Secret, ...] = setting("Keys", default=())
    headers: Mapping[str, Secret] = setting("Headers", default=attrs.Factory(dict))
    labels: Mapping[str, str] = setting("Labels", default=attrs.Factory(dict))
    region: str = setting("Region", default="us", choices=("us", "eu"))
