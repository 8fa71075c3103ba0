-- What the pipelines write, tried by `litgo doctor` in a transaction that is rolled back. As the statements write it: inside
-- a WITH, which takes no rules. Each answers one row: whether there was a row to try it on, whether one was written, and the
-- columns that do not hold what was written. What a mapping writes nowhere is read back as null.

-- write: equity columns
WITH target AS (SELECT id, coalesce(cases_30d, 0) + 1 AS cases FROM lawyers ORDER BY is_available DESC, id LIMIT 1),
written AS (
    UPDATE lawyers l
    SET cases_30d = t.cases, capacidade_mensal = 11, last_offered_at = now(), equity_updated_at = now()
    FROM target t WHERE l.id = t.id
    RETURNING array_remove(ARRAY[CASE WHEN l.cases_30d <> t.cases THEN 'cases_30d' END,
                                 CASE WHEN l.capacidade_mensal <> 11 THEN 'capacidade_mensal' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);

-- write: triage
WITH target AS (SELECT id, coalesce(urgency_h, 72) + 1 AS hours FROM cases ORDER BY created_at DESC NULLS LAST LIMIT 1),
written AS (
    UPDATE cases c
    SET area = 'Previdenciário', subarea = 'Benefício por incapacidade', urgency_h = t.hours, complexity = 'MEDIUM'
    FROM target t WHERE c.id = t.id
    RETURNING array_remove(ARRAY[
        CASE WHEN lower(c.area) IS DISTINCT FROM 'previdenciário' THEN 'area' END,
        CASE WHEN lower(c.subarea) IS DISTINCT FROM 'benefício por incapacidade' THEN 'subarea' END,
        CASE WHEN c.urgency_h IS DISTINCT FROM t.hours THEN 'urgency_h' END,
        CASE WHEN c.complexity IS DISTINCT FROM 'MEDIUM' THEN 'complexity' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);

-- write: match
WITH target AS (SELECT case_id, lawyer_id FROM pg_temp.litgo_pair),
written AS (
    INSERT INTO case_matches (case_id, lawyer_id, fair_score, equity_score, raw_score, features, breakdown, weights_used,
                              preset_used, created_at)
    SELECT case_id, lawyer_id, 0.5, 0.1, 0.5, '{"A": 1}', '{"rank": 1}', '{"A": 1}', 'balanced', now() FROM target
    RETURNING array_remove(ARRAY[
        CASE WHEN case_id NOT IN (SELECT case_id FROM target) THEN 'case_id' END,
        CASE WHEN lawyer_id NOT IN (SELECT lawyer_id FROM target) THEN 'lawyer_id' END,
        CASE WHEN abs(fair_score - 0.5) > 0.005 THEN 'fair_score' END,
        CASE WHEN abs(equity_score - 0.1) > 0.005 THEN 'equity_score' END,
        CASE WHEN abs(raw_score - 0.5) > 0.005 THEN 'raw_score' END,
        CASE WHEN features -> 'A' IS DISTINCT FROM '1' THEN 'features' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), (SELECT count(*) FROM written) = (SELECT count(*) FROM target),
       (SELECT array_agg(DISTINCT c) FROM written, unnest(changed) c);

-- write: match of a further round
WITH target AS (SELECT case_id, lawyer_id FROM case_matches LIMIT 1),
written AS (
    UPDATE case_matches m
    SET fair_score = 1, equity_score = 0.2, raw_score = 1, features = '{"A": 0}', breakdown = '{"rank": 2}',
        weights_used = '{"A": 2}', preset_used = 'balanced', created_at = now()
    FROM target t WHERE m.case_id = t.case_id AND m.lawyer_id = t.lawyer_id
    RETURNING array_remove(ARRAY[CASE WHEN m.features -> 'A' IS DISTINCT FROM '0' THEN 'features' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);

-- write: offer
WITH target AS (SELECT case_id, lawyer_id FROM pg_temp.litgo_pair),
written AS (
    INSERT INTO offers (id, case_id, lawyer_id, status, sent_at, expires_at, fair_score, raw_score, equity_weight,
                        last_offered_at, created_at)
    SELECT gen_random_uuid(), case_id, lawyer_id, 'pending', now(), now() + interval '24 hours', 0.5, 1, 0.1, NULL, now()
    FROM target
    RETURNING array_remove(ARRAY[
        CASE WHEN case_id NOT IN (SELECT case_id FROM target) THEN 'case_id' END,
        CASE WHEN lawyer_id NOT IN (SELECT lawyer_id FROM target) THEN 'lawyer_id' END,
        CASE WHEN status IS DISTINCT FROM 'pending' THEN 'status' END,
        CASE WHEN abs(extract(epoch FROM sent_at - now())) > 1 THEN 'sent_at' END,
        CASE WHEN abs(fair_score - 0.5) > 0.005 THEN 'fair_score' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), (SELECT count(*) FROM written) = (SELECT count(*) FROM target),
       (SELECT array_agg(DISTINCT c) FROM written, unnest(changed) c);

-- write: end of an offer
WITH target AS (SELECT id FROM offers ORDER BY status = 'pending' DESC, sent_at DESC NULLS LAST LIMIT 1),
written AS (
    UPDATE offers o SET status = 'expired' FROM target t WHERE o.id = t.id
    RETURNING array_remove(ARRAY[CASE WHEN o.status IS DISTINCT FROM 'expired' THEN 'status' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);

-- write: shorter term of an offer
WITH target AS (SELECT id FROM offers ORDER BY status = 'pending' DESC, sent_at DESC NULLS LAST LIMIT 1),
written AS (
    UPDATE offers o SET expires_at = now() + interval '1 hour' FROM target t WHERE o.id = t.id
    RETURNING array_remove(ARRAY[
        CASE WHEN abs(extract(epoch FROM o.expires_at - now()) - 3600) > 1 THEN 'expires_at' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);

-- write: signature
WITH target AS (
    SELECT id FROM contracts ORDER BY status = 'pending-signature' DESC, created_at DESC NULLS LAST LIMIT 1
),
written AS (
    UPDATE contracts c
    SET signed_client = coalesce(c.signed_client, now()), signed_lawyer = coalesce(c.signed_lawyer, now())
    FROM target t WHERE c.id = t.id
    RETURNING array_remove(ARRAY[CASE WHEN c.signed_client IS NULL THEN 'signed_client' END,
                                 CASE WHEN c.signed_lawyer IS NULL THEN 'signed_lawyer' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);

-- write: status of a contract
WITH target AS (
    SELECT id FROM contracts ORDER BY status = 'pending-signature' DESC, created_at DESC NULLS LAST LIMIT 1
),
written AS (
    UPDATE contracts c SET status = 'active' FROM target t WHERE c.id = t.id
    RETURNING array_remove(ARRAY[CASE WHEN c.status IS DISTINCT FROM 'active' THEN 'status' END], NULL) AS changed
)
SELECT EXISTS (SELECT FROM target), EXISTS (SELECT FROM written), (SELECT changed FROM written);
