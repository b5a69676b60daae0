"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# two cores shared by several workers say nothing about how fast an example is
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")
