-- Writes one decision: the triage row, and those columns of the case the client left open; an urgency only where it is
-- shorter than the client's. Of a text read once more, what was decided before stays, and danger that is no longer told
-- is danger still: somebody else may have taken the words away. Nothing when the case is no longer as it was read (the client chose something meanwhile, or
-- it is not pending, or somebody holds its row): a later run sees it anew.
WITH same AS (
    SELECT id FROM cases
    WHERE id = %(case_id)s AND status = 'pending_assignment'
      AND litgo.chosen(area) IS NOT DISTINCT FROM %(was_area)s::text
      AND litgo.chosen(subarea) IS NOT DISTINCT FROM %(was_subarea)s::text
      AND litgo.number(urgency_h) IS NOT DISTINCT FROM %(was_urgency_h)s::float8
      AND CASE WHEN complexity IN ('LOW', 'MEDIUM', 'HIGH') THEN complexity END IS NOT DISTINCT FROM %(was_complexity)s::text
    FOR UPDATE SKIP LOCKED
), written AS (
    INSERT INTO litgo.triage AS t (
        case_id, as_of, status, area, subarea, urgency_h, urgency_source, complexity, sources, area_confidence,
        subarea_confidence, alternatives, classifier, reason, danger, life_at_risk,
        local_only, text_bytes, text_hash
    )
    SELECT id, %(as_of)s, %(status)s, %(area)s, %(subarea)s, %(urgency_h)s, %(urgency_source)s, %(complexity)s,
           %(sources)s::jsonb, %(area_confidence)s, %(subarea_confidence)s, %(alternatives)s::jsonb, %(classifier)s,
           %(reason)s, %(danger)s, %(life_at_risk)s, %(local_only)s,
           %(text_bytes)s, %(text_hash)s
    FROM same
    ON CONFLICT (case_id) DO UPDATE SET
        as_of = CASE WHEN t.status = 'review' AND t.urgency_h <= excluded.urgency_h THEN t.as_of ELSE excluded.as_of END,
        (status, reason) = (
            SELECT CASE WHEN stays THEN t.status ELSE excluded.status END,
                   CASE WHEN stays THEN t.reason ELSE coalesce(excluded.reason, t.reason) END
            FROM (SELECT t.status = 'review' AND t.reason = 'danger_unsure' AS stays) before),
        area = coalesce(excluded.area, t.area),
        subarea = coalesce(excluded.subarea, t.subarea),
        urgency_h = LEAST(t.urgency_h, excluded.urgency_h),
        urgency_source = CASE WHEN excluded.urgency_h < t.urgency_h THEN excluded.urgency_source ELSE t.urgency_source END,
        sources = excluded.sources || t.sources || CASE WHEN excluded.urgency_h < t.urgency_h
            THEN jsonb_build_object('urgency_h', excluded.urgency_source) ELSE '{}' END,
        area_confidence = coalesce(excluded.area_confidence, t.area_confidence),
        subarea_confidence = coalesce(excluded.subarea_confidence, t.subarea_confidence),
        alternatives = CASE WHEN excluded.alternatives = '[]' THEN t.alternatives ELSE excluded.alternatives END,
        classifier = coalesce(excluded.classifier, t.classifier),
        danger = GREATEST(t.danger, excluded.danger),
        life_at_risk = t.life_at_risk OR excluded.life_at_risk,
        local_only = coalesce(excluded.local_only, t.local_only),
        text_bytes = excluded.text_bytes,
        text_hash = excluded.text_hash
    RETURNING case_id, life_at_risk
), told AS (  -- whose life may be at risk is told the public numbers at once
    INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
    SELECT 'public_numbers', c.client_id, 'public_numbers:' || c.id, jsonb_build_object('case_id', c.id), %(as_of)s
    FROM written w JOIN cases c ON c.id = w.case_id
    WHERE w.life_at_risk AND c.client_id IS NOT NULL
    ON CONFLICT DO NOTHING
), tried AS (
    DELETE FROM litgo.triage_failures WHERE case_id IN (SELECT case_id FROM written)
), filled AS (
    UPDATE cases c
    SET area = coalesce(litgo.chosen(c.area), %(area)s, c.area),
        subarea = coalesce(litgo.chosen(c.subarea), %(subarea)s, c.subarea),
        urgency_h = LEAST(CASE WHEN c.urgency_h > 0 THEN c.urgency_h END, %(urgency_h)s),
        complexity = CASE WHEN c.complexity IN ('LOW', 'MEDIUM', 'HIGH') THEN c.complexity ELSE %(complexity)s END
    FROM written w WHERE c.id = w.case_id
)
SELECT count(*) FROM written
