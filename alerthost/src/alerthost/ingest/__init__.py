"""Parsers: alerts from JSON, JSON lines, and the webhooks of Alertmanager and Grafana."""
