-- What became of first offers in the weeks before an episode: (outcomes, successes) of the version's own cases, of the
-- version the holdout gets (null: no model, whoever offered), and of all cases, whoever ranked them.
WITH cases_before AS (
    SELECT case_id, min(sent_at) AS sent_at, %(term)s AS term FROM offers
    WHERE sent_at > %(since)s - %(look_back)s AND sent_at <= %(since)s - %(term)s
    GROUP BY case_id
),
before AS (
    SELECT x.case_id IS NOT NULL AND x.model_version = %(version)s AS own,
           x.model_version IS NOT DISTINCT FROM %(control)s AS controls, EXISTS (
               SELECT FROM offers o
               WHERE o.case_id = b.case_id AND o.status IN ('interested', 'closed') AND litgo.instant(o.responded_at) <= b.sent_at + b.term
           ) AS accepted
    FROM cases_before b LEFT JOIN litgo.exposures x ON x.case_id = b.case_id AND x.round = 1
)
SELECT count(*) FILTER (WHERE own), count(*) FILTER (WHERE own AND accepted),
       count(*) FILTER (WHERE controls), count(*) FILTER (WHERE controls AND accepted),
       count(*), count(*) FILTER (WHERE accepted),
       (SELECT avg((
           SELECT avg(jsonb_array_length(coalesce(e -> 'imputed', '[]'))) FROM jsonb_array_elements(considered) AS e
       ) / 8)::float8
        FROM (SELECT considered FROM litgo.matchings WHERE matched_at <= %(since)s
              ORDER BY matched_at DESC LIMIT 500) newest)
FROM before
