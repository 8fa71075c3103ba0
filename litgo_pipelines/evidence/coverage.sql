-- Of how many lawyers something is known, by feature.
SELECT count(*) AS lawyers,
       count(*) FILTER (WHERE e.concluded > 0 OR e.lawyer_id IN (SELECT lawyer_id FROM litgo.lawyer_subarea_evidence)),
       count(years), count(response_h), count(stars), count(softskill)
FROM litgo.lawyer_evidence e
