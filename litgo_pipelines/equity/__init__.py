"""Nightly equity: how loaded each lawyer is, how evenly offers were spread. Capacity → load → distribution."""
