"""Connects any host that implements `hostspec` to PagerDuty."""
