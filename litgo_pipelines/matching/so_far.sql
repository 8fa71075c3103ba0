    -- What came of the case c so far: its last round and whether there was one, its offers and how many are open.
    CROSS JOIN LATERAL (
        SELECT coalesce(max(round), 1) AS round, count(*) > 0 AS matched FROM litgo.matchings WHERE case_id = c.id
    ) m
    CROSS JOIN LATERAL (
        SELECT count(*) AS offers, count(*) FILTER (WHERE {open_offer}) AS open
        FROM offers f WHERE f.case_id = c.id
    ) o
