"""Connecting PagerDuty accounts."""
