"""Processes: supervisor, Dagster's daemon and run launcher, and every import of Dagster's private modules."""
