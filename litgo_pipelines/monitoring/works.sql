-- Rollbacks that are not finished, and the newest check; one row also before the first check.
SELECT
    (
        SELECT count(*) FROM litgo.quality_incidents i
        WHERE NOT EXISTS (SELECT FROM litgo.quality_incident_ends e WHERE e.incident = i.incident)
    ),
    c.version, c.decision, c.alarms
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (SELECT * FROM litgo.quality_checks ORDER BY checked_at DESC LIMIT 1) c ON true
