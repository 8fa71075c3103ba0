-- Every lawyer who could be offered a case of the batch: one row a lawyer and area, ordered by lawyer, with what the
-- allocation and the features need as of the instant. Regions are boxes around the cases; exact distances come later.
WITH region AS MATERIALIZED (  -- else the areas are unpacked again for every lawyer
    SELECT r.box::box AS box, ARRAY(SELECT jsonb_array_elements_text(r.areas)) AS areas
    FROM jsonb_to_recordset(%(regions)s) AS r (box text, areas jsonb)
),
near AS MATERIALIZED (
    SELECT l.id FROM region r JOIN lawyers l ON l.geo_latlon <@ r.box
    WHERE l.tags_expertise && r.areas OR l.primary_area = ANY(r.areas)
    UNION  -- for cases served from anywhere
    SELECT l.id FROM lawyers l WHERE l.tags_expertise && %(anywhere)s::text[]
    UNION
    SELECT l.id FROM lawyers l WHERE l.primary_area = ANY(%(anywhere)s::text[])
),
offered AS (
    -- the ledger: offers of any status, with those this batch has made
    SELECT lawyer_id, count(*) AS offers, max(sent_at) AS last_offered_at
    FROM offers
    WHERE sent_at > %(as_of)s::timestamptz - interval '720 hours' AND sent_at < %(until)s
    GROUP BY lawyer_id
),
open_cases AS (
{open_cases})
SELECT l.id::text AS lawyer_id, area.number AS area, coalesce((e.degrees ->> area.name)::float8, 0) AS degree,
       l.geo_latlon[0] AS lng, l.geo_latlon[1] AS lat,
       -- no night has seen the newest lawyers yet
       coalesce(l.capacidade_mensal, %(base_capacity)s)::float8 AS capacity, coalesce(l.cases_30d, 0)::float8 AS cases_30d,
       LEAST(1, extract(epoch FROM %(as_of)s - l.created_at) / 2592000)::float8 AS active_share,
       coalesce(o.offers, 0)::float8 AS offers_30d,
       -- in microseconds, which a double holds exactly; the night's figure may be older than the ledger's
       (extract(epoch FROM GREATEST(l.last_offered_at, o.last_offered_at)) * 1000000)::float8 AS last_offered,
       coalesce(e.concluded, 0)::float8 AS concluded, coalesce(e.won, 0)::float8 AS won, e.years::float8,
       coalesce(e.publications, 0)::float8 AS publications, e.response_h::float8, e.stars::float8,
       coalesce(e.reviews, 0)::float8 AS reviews, e.softskill::float8
FROM near n
JOIN lawyers l ON l.id = n.id
CROSS JOIN LATERAL (
    SELECT a.number, a.name FROM unnest(%(areas)s::text[]) WITH ORDINALITY AS a (name, number)
    WHERE a.name = ANY(l.tags_expertise) OR a.name = l.primary_area
) area
LEFT JOIN offered o ON o.lawyer_id = l.id
LEFT JOIN open_cases p ON p.lawyer_id = l.id
LEFT JOIN litgo.lawyer_evidence e ON e.lawyer_id = l.id
WHERE {available}
ORDER BY l.id
