-- Marks cases that repeat an earlier one of the same client, in the same words, within minutes; releases those whose
-- original was cancelled or is gone, and those that say something else by now. One that is due today, and sooner than the
-- earlier one, is no repeat. Nothing is deleted: the marketplace's rows stay as they are.
WITH recent AS MATERIALIZED (  -- words are read of these alone, not of every case that waits for an answer
    SELECT c.id, c.client_id, c.created_at, c.title, c.description, c.urgency_h
    FROM cases c
    WHERE c.status = 'pending_assignment' AND c.created_at BETWEEN '1900-01-01' AND %(as_of)s AND %(minutes)s > 0
      AND NOT EXISTS (SELECT FROM litgo.case_duplicates d WHERE d.case_id = c.id)
      AND NOT EXISTS (SELECT FROM litgo.matchings WHERE case_id = c.id)
      AND NOT EXISTS (SELECT FROM offers WHERE case_id = c.id)
      AND NOT EXISTS (SELECT FROM litgo.case_waits v WHERE v.case_id = c.id)
),
fresh AS MATERIALIZED (
    SELECT id, client_id, created_at, urgency_h, litgo.said(title, description) AS words FROM recent
),
-- Words of each earlier case once: of a thousand cases that one client sent, half a million pairs are compared.
earlier AS MATERIALIZED (
    SELECT c.id, c.client_id, c.created_at, c.urgency_h, litgo.said(c.title, c.description) AS words
    FROM (SELECT DISTINCT o.id
          FROM fresh f
          JOIN cases o ON o.client_id = f.client_id AND o.status <> 'cancelled'
              AND (o.created_at, o.id) < (f.created_at, f.id)
              AND o.created_at >= f.created_at - %(minutes)s * interval '1 minute'
          WHERE f.words <> '') known
    JOIN cases c USING (id)
),
released AS (
    DELETE FROM litgo.case_duplicates d
    WHERE NOT EXISTS (
        SELECT FROM cases o JOIN cases c ON c.id = d.case_id
        WHERE o.id = d.of_case_id AND o.status IS DISTINCT FROM 'cancelled' AND o.client_id = c.client_id
          AND (c.urgency_h > 0 AND c.urgency_h < LEAST(o.urgency_h, 24)) IS NOT TRUE
          AND litgo.said(o.title, o.description) = litgo.said(c.title, c.description))
)
INSERT INTO litgo.case_duplicates (case_id, of_case_id, seen_at)
SELECT DISTINCT ON (f.id) f.id, o.id, %(as_of)s
FROM fresh f
JOIN earlier o ON o.client_id = f.client_id AND o.words = f.words AND (o.created_at, o.id) < (f.created_at, f.id)
    AND o.created_at >= f.created_at - %(minutes)s * interval '1 minute'
WHERE f.words <> '' AND (f.urgency_h > 0 AND f.urgency_h < LEAST(o.urgency_h, 24)) IS NOT TRUE
ORDER BY f.id, o.created_at, o.id
ON CONFLICT DO NOTHING
