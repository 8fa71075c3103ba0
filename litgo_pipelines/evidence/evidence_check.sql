-- What is wrong with the evidence as the newest refresh left it.
SELECT f.as_of, (SELECT count(*) FROM litgo.lawyer_evidence) AS lawyers,
       (SELECT count(*) FROM lawyers l
        WHERE litgo.joined(l.created_at) <= f.as_of
          AND NOT EXISTS (SELECT FROM litgo.lawyer_evidence e WHERE e.lawyer_id = l.id)) AS missing,
       (SELECT count(*) FROM litgo.lawyer_evidence e
        -- a NaN is above every number
        WHERE NOT (e.concluded BETWEEN 0 AND 1e9 AND e.won BETWEEN 0 AND e.concluded
                   AND COALESCE(e.years BETWEEN 0 AND 80, true) AND e.publications BETWEEN 0 AND 10000
                   AND COALESCE(e.response_h BETWEEN 0 AND 8760, true)
                   AND e.reviews >= 0 AND (e.stars IS NULL) = (e.reviews = 0)
                   AND COALESCE(e.stars BETWEEN 1 AND 5, true) AND COALESCE(e.softskill BETWEEN 0 AND 1, true)))
       + (SELECT count(*) FROM litgo.lawyer_evidence e, jsonb_each(e.degrees) d WHERE d.value NOT IN ('1', '2', '3'))
       + (SELECT count(*) FROM litgo.lawyer_subarea_evidence s
          WHERE NOT (s.concluded BETWEEN 0 AND 1e9 AND s.won BETWEEN 0 AND s.concluded)) AS wrong
FROM litgo.evidence_refresh f
