"""Backups of what is ours, and their restoration. docs/operations.md."""
