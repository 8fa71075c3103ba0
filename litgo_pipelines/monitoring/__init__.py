"""Monitoring of the serving model: the quality monitor, its rules, and the automatic rollback."""
