"""Nightly equity: each lawyer's load and how evenly offers were spread. Capacity → load → distribution."""
