"""Contracts, from the chosen lawyer to both signatures, with a manual path when the signature service fails."""
