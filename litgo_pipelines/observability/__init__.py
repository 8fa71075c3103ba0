"""Observability: metric state, exporter, health, log lines, and plots for asset metadata."""
