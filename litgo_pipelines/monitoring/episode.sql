-- The stay in service that the newest promotion or rollback began, with its last check and its reference; no row while no
-- model serves.
SELECT l.sequence, l.version, l.recorded_at, coalesce(c.checked_at, l.recorded_at), c.state, r.reference
FROM (
    SELECT sequence, CASE transition WHEN 'champion' THEN version ELSE successor END AS version, recorded_at
    FROM litgo.model_ledger
    WHERE transition IN ('champion', 'rolled_back')
    ORDER BY sequence DESC
    LIMIT 1
) l
LEFT JOIN litgo.quality_references r ON r.episode = l.sequence
LEFT JOIN LATERAL (
    SELECT checked_at, state FROM litgo.quality_checks c
    WHERE c.episode = l.sequence
    ORDER BY checked_at DESC
    LIMIT 1
) c ON true
WHERE l.version IS NOT NULL
