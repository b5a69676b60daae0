"""Connects hosts to PagerDuty."""
