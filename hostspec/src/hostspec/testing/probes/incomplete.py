"""The plugin ``conformance-incomplete``: offers what is no provider."""

from __future__ import annotations

from hostspec import hookimpl


@hookimpl
def hostspec_providers() -> list[str]:
    """Offer nonsense."""
    return ["conformance-incomplete"]
