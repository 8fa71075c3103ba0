"""Is the serving model still good: the quality monitor, its rules, and the automatic rollback."""
