-- Offers of an experiment's arms by arm and lawyer, in the 30 days up to the end of the instant's own batch; and how many of
-- them came before that batch.
SELECT x.arm, o.lawyer_id::text, count(*), count(*) FILTER (WHERE x.exposed_at <= %(as_of)s)
FROM litgo.exposures x JOIN offers o ON o.case_id = x.case_id AND o.sent_at = x.exposed_at
WHERE x.experiment = %(experiment)s AND x.arm = ANY(%(arms)s)
  AND x.exposed_at > %(as_of)s - interval '720 hours' AND x.exposed_at < %(until)s
GROUP BY 1, 2
