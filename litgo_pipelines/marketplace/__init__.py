"""Tables we read and do not own: asset specs, the schema they must have, and the check that enforces it."""
