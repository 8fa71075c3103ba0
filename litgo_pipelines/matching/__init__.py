"""From a new case to offers. For now: the hand-weighted ranker that serves until a model does."""
