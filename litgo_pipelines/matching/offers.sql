-- Everything one case's matching writes, as one statement: all of it or nothing. Nothing when the case was matched in
-- this round already or is no longer pending.
PREPARE make_offers (
    uuid, int, bigint, timestamptz, int, float8, float8, float8, jsonb,    -- 1-9: the matching
    jsonb, text, text, text, interval,                                     -- 10-14: how it was ranked; the offers' term
    text[], jsonb[], float8[],                                             -- 15-17: metric deltas
    text, text, int,                                                       -- 18-20: experiment, arm, phase
    float8,                                                                -- 21: seconds of scoring
    uuid[], bytea,                                                         -- 22-23: who could be chosen
    boolean,                                                               -- 24: whether the lawyers' rows show it
    text, text, int                                                        -- 25-27: the same of the layer of offers
) AS
WITH matched AS (
    INSERT INTO litgo.matchings
        (case_id, round, batch_id, matched_at, candidates, radius_km, lambda, pool_load, considered)
    SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM cases WHERE id = $1 AND status = 'pending_assignment'
    ON CONFLICT (case_id, round) DO NOTHING
    RETURNING case_id
),
could_be AS (
    INSERT INTO litgo.candidate_sets (case_id, round, matched_at, lawyer_ids, features)
    SELECT case_id, $2, $4, $22, $23 FROM matched
    ON CONFLICT (case_id, round) DO NOTHING
),
chosen AS (
    SELECT m.case_id, l.id AS lawyer_id,
           -- not the lawyer's own column, which others may change
           (SELECT max(o.sent_at) FROM offers o
            WHERE o.lawyer_id = l.id AND o.sent_at >= '1900-01-01' AND o.sent_at < $4) AS last_offered_at,
           (e.entry ->> 'score')::float8 AS fair,
           (e.entry ->> 'equity_term')::float8 AS equity, (e.entry ->> 'relevance')::float8 AS raw,
           e.entry -> 'features' AS features,
           jsonb_build_object('rank', e.place, 'lambda', $7)
               || (e.entry - '{lawyer_id,offered,features,relevance,score}'::text[]) AS breakdown
    FROM matched m
    CROSS JOIN jsonb_array_elements($9) WITH ORDINALITY AS e (entry, place)
    JOIN lawyers l ON l.id = (e.entry ->> 'lawyer_id')::uuid
    WHERE (e.entry ->> 'offered')::boolean
),
logged AS (
    UPDATE case_matches m
    SET fair_score = c.fair, equity_score = c.equity, raw_score = c.raw, features = c.features, breakdown = c.breakdown,
        weights_used = $10, preset_used = $13, created_at = $4
    FROM chosen c WHERE m.case_id = $1 AND m.lawyer_id = c.lawyer_id
),
logged_first AS (  -- not ON CONFLICT, which a view with a trigger does not take
    INSERT INTO case_matches (case_id, lawyer_id, fair_score, equity_score, raw_score, features, breakdown,
                              weights_used, preset_used, created_at)
    SELECT case_id, lawyer_id, fair, equity, raw, features, breakdown, $10, $13, $4 FROM chosen c
    WHERE NOT EXISTS (SELECT FROM case_matches m WHERE m.case_id = $1 AND m.lawyer_id = c.lawyer_id)
),
offered AS (
    INSERT INTO offers (id, case_id, lawyer_id, status, sent_at, expires_at, fair_score, raw_score, equity_weight,
                        last_offered_at, created_at)
    SELECT gen_random_uuid(), case_id, lawyer_id, 'pending', $4, $4 + $14, fair, raw, $7, last_offered_at, $4 FROM chosen
    RETURNING id, case_id, lawyer_id
),
stamped AS (
    -- what the marketplace shows; whose row is held at this moment is shown the next one
    UPDATE lawyers l SET last_offered_at = GREATEST(litgo.instant(l.last_offered_at), $4)
    FROM (SELECT id FROM lawyers WHERE $24 AND id IN (SELECT lawyer_id FROM chosen)
          FOR NO KEY UPDATE SKIP LOCKED) free
    WHERE l.id = free.id
),
told AS (
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT 'offer', lawyer_id, 'offer:' || case_id || ':' || lawyer_id,
           jsonb_build_object('offer_id', id, 'case_id', case_id, 'expires_at', $4 + $14), $4
    FROM offered
    -- an offer that the marketplace has deleted since, made once more
    ON CONFLICT (dedup_key) DO UPDATE SET payload = excluded.payload, created_at = excluded.created_at, status = 'pending',
        delivery_id = NULL, settled_at = NULL, retried_at = NULL, reason = NULL
),
exposed AS (
    INSERT INTO litgo.exposures (case_id, round, client_id, ranker, model_version, experiment, arm, exposed_at,
                                 ranking_seconds)
    SELECT c.id, $2, c.client_id, $11, $12, $18, $19, $4, $21 FROM cases c JOIN matched m ON m.case_id = c.id
    RETURNING case_id, client_id
),
joined AS (                                 -- a client's arm is that of the first exposure, for good
    INSERT INTO litgo.experiment_arms (experiment, client_id, arm, phase, case_id, first_exposed_at)
    SELECT $18, client_id, $19, $20, case_id, $4 FROM exposed WHERE $18 IS NOT NULL
    UNION ALL
    SELECT $25, client_id, $26, $27, case_id, $4 FROM exposed WHERE $25 IS NOT NULL
    ON CONFLICT (experiment, client_id) DO NOTHING
),
counted AS (
    INSERT INTO litgo.metric_state AS s (name, labels, value)
    SELECT d.* FROM matched CROSS JOIN unnest($15, $16, $17) AS d
    ON CONFLICT (name, labels) DO UPDATE SET value = s.value + excluded.value
),
recovered AS (
    DELETE FROM litgo.matching_failures WHERE case_id IN (SELECT case_id FROM matched)
),
found AS (
    DELETE FROM litgo.case_waits WHERE case_id IN (SELECT case_id FROM matched)
)
SELECT (SELECT count(*) FROM offered), (SELECT count(*) FROM chosen)
