"""Hands alerts over to a running ``alerthost run``, with the standard library only."""

from __future__ import annotations

from alerthost_client.alert import ClientError, DroppedError
from alerthost_client.client import Client

__all__ = ["Client", "ClientError", "DroppedError"]
