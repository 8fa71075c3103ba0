-- Keeps the list of texts that stay here: what may leave again is taken off it, what may not is added with the reason.
-- What a text itself says is found by whoever reads it, and stays.
WITH judged AS (
    SELECT s.text_hash,
           CASE WHEN NOT bool_and({may_leave})
                THEN CASE WHEN bool_and(coalesce(p.ai_consent, false)) THEN 'area' ELSE 'no_consent' END
           END AS reason
    FROM ({sources}) s
    LEFT JOIN cases c ON c.id = s.case_id
    LEFT JOIN profiles p ON p.id = coalesce(c.client_id, s.owner_id)
    WHERE s.kind = ANY(%(kinds)s)
    GROUP BY s.text_hash
), freed AS (
    DELETE FROM litgo.withheld_texts w USING judged j
    WHERE w.text_hash = j.text_hash AND j.reason IS NULL AND w.reason <> 'text'
), kept AS (
    INSERT INTO litgo.withheld_texts AS w (text_hash, reason, as_of)
    SELECT text_hash, reason, %(as_of)s FROM judged WHERE reason IS NOT NULL
    ON CONFLICT (text_hash) DO UPDATE SET reason = excluded.reason, as_of = excluded.as_of
        WHERE w.reason <> excluded.reason AND w.reason <> 'text'
    RETURNING reason
)
SELECT reason, count(*) FROM kept GROUP BY reason
