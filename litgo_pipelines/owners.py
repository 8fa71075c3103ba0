"""Owners of assets: team addresses, as Dagster shows them in the UI."""


class Owner:
    """Plain strings: Dagster cannot send an enum of ours between its processes."""

    DATA = "team:data-engineering"
    LEARNING = "team:machine-learning"
    MARKETPLACE = "team:marketplace"
