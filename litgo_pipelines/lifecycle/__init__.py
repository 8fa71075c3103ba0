"""Which model serves: the ledger that decides it, the registry that holds it, the aliases that show it."""
