"""From a chosen lawyer to a signed contract, with a manual way when the signature service fails."""
