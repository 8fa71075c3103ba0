-- Whether a row of sources.sql (s, its case c, whose person is p) may go to another company: the person consented, and a
-- case is of an area that is not sensitive, by its columns and by its triage. Unknown means no.
coalesce(p.ai_consent, false) AND (
    s.case_id IS NULL
    OR coalesce(
        litgo.area_key(coalesce((SELECT w.area FROM litgo.area_words w WHERE w.key = litgo.area_key(c.area)), c.area))
            || '/' || coalesce(litgo.area_key(c.subarea), '') = ANY(%(open)s), false)
       AND NOT EXISTS (SELECT FROM litgo.triage t WHERE t.case_id = s.case_id AND t.local_only IS NOT NULL)
)
