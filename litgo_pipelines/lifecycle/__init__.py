"""Model lifecycle: the ledger that decides which model serves, the registry that holds it, the aliases that show it."""
