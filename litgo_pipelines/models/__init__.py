"""Ranking models: feature contract, heuristic and learned rankers, training, files, registry."""
