"""Layers: what experiments may vary at the same time. Pure.

A layer owns one decision, and one experiment runs in it at most, so that no two choose the same thing. Each experiment
splits the clients by a salt of its own: the arm in one layer says nothing about the arm in another, and what the other
layer does is alike in both arms. The holdout is outside all layers.
"""

RANKING, OFFERS = "ranking", "offers"
LAYERS = {
    RANKING: "which version ranks a case's lawyers",
    OFFERS: "how long an offer waits for its answer",
}
