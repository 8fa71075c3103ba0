"""A/B experiments on ranking models: who is in which arm, the evidence at each cutoff, and the decision."""
