"""Matching: from a pending case to up to five offers: candidates, features, ranking, allocation."""
