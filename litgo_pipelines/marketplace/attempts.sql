-- What the pipelines write, tried by `litgo doctor` in a transaction that is rolled back. A statement returns a row when
-- there was one to try it on.

-- write: equity columns
UPDATE lawyers
SET cases_30d = coalesce(cases_30d, 0) + 1, capacidade_mensal = 11, last_offered_at = now(), equity_updated_at = now()
WHERE id = (SELECT id FROM lawyers ORDER BY is_available DESC, id LIMIT 1)
RETURNING 1;

-- write: triage
UPDATE cases
SET area = 'Previdenciário', subarea = 'Benefício por incapacidade', urgency_h = coalesce(urgency_h, 72) + 1,
    complexity = 'MEDIUM'
WHERE id = (SELECT id FROM cases ORDER BY created_at DESC NULLS LAST LIMIT 1)
RETURNING 1;

-- write: match
INSERT INTO case_matches (case_id, lawyer_id, fair_score, equity_score, raw_score, features, breakdown, weights_used,
                          preset_used, created_at)
SELECT case_id, lawyer_id, 0.5, 0.1, 0.5, '{"A": 1}', '{"rank": 1}', '{"A": 1}', 'balanced', now()
FROM pg_temp.litgo_pair
RETURNING 1;

-- write: match of a further round
UPDATE case_matches
SET fair_score = 0.6, equity_score = 0.2, raw_score = 0.6, features = '{"A": 0}', breakdown = '{"rank": 2}',
    weights_used = '{"A": 2}', preset_used = 'balanced', created_at = now()
WHERE (case_id, lawyer_id) = (SELECT case_id, lawyer_id FROM case_matches LIMIT 1)
RETURNING 1;

-- write: offer
INSERT INTO offers (id, case_id, lawyer_id, status, sent_at, expires_at, fair_score, raw_score, equity_weight,
                    last_offered_at, created_at)
SELECT gen_random_uuid(), case_id, lawyer_id, 'pending', now(), now() + interval '24 hours', 0.5, 0.5, 0.1, NULL, now()
FROM pg_temp.litgo_pair
RETURNING 1;

-- write: end of an offer
UPDATE offers SET status = 'expired'
WHERE id = (SELECT id FROM offers ORDER BY status = 'pending' DESC, sent_at DESC NULLS LAST LIMIT 1)
RETURNING 1;

-- write: signature
UPDATE contracts SET signed_client = coalesce(signed_client, now()), signed_lawyer = coalesce(signed_lawyer, now())
WHERE id = (SELECT id FROM contracts ORDER BY status = 'pending-signature' DESC, created_at DESC NULLS LAST LIMIT 1)
RETURNING 1;

-- write: status of a contract
UPDATE contracts SET status = 'active'
WHERE id = (SELECT id FROM contracts ORDER BY status = 'pending-signature' DESC, created_at DESC NULLS LAST LIMIT 1)
RETURNING 1;
