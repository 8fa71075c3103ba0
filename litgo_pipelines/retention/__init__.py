"""Retention: how long everything is kept, and the nightly job that deletes the rest."""
