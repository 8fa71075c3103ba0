"""Learning: from logged offers and their outcomes to a ranking model that has earned its place."""
