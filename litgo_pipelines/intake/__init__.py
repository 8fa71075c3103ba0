"""From a client's words to a case that can be matched: area, subarea, urgency, complexity, or a person's review."""
