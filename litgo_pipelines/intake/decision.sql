-- Writes one decision: the triage row, and those columns of the case the client left open. Nothing when the case is no
-- longer as it was read (the client chose something meanwhile, or it is not pending): a later run sees it anew.
WITH same AS (
    SELECT id FROM cases
    WHERE id = %(case_id)s AND status = 'pending_assignment'
      AND area IS NOT DISTINCT FROM %(was_area)s::text AND subarea IS NOT DISTINCT FROM %(was_subarea)s::text
      AND urgency_h IS NOT DISTINCT FROM %(was_urgency_h)s::numeric
      AND complexity IS NOT DISTINCT FROM %(was_complexity)s::text
    FOR UPDATE
), written AS (
    INSERT INTO litgo.triage (
        case_id, as_of, status, area, subarea, urgency_h, complexity, sources, area_confidence, subarea_confidence,
        alternatives, classifier, reason
    )
    SELECT id, %(as_of)s, %(status)s, %(area)s, %(subarea)s, %(urgency_h)s, %(complexity)s, %(sources)s::jsonb,
           %(area_confidence)s, %(subarea_confidence)s, %(alternatives)s::jsonb, %(classifier)s, %(reason)s
    FROM same
    ON CONFLICT (case_id) DO NOTHING
    RETURNING case_id
), tried AS (
    DELETE FROM litgo.triage_failures WHERE case_id IN (SELECT case_id FROM written)
), filled AS (
    UPDATE cases c
    SET area = coalesce(c.area, %(area)s), subarea = coalesce(c.subarea, %(subarea)s),
        urgency_h = coalesce(c.urgency_h, %(urgency_h)s), complexity = coalesce(c.complexity, %(complexity)s)
    FROM written w WHERE c.id = w.case_id
)
SELECT count(*) FROM written
