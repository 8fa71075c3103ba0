-- Every lawyer who could be offered a case of the batch: one row per lawyer and area, ordered by lawyer, with what the
-- allocation and the features need as of the instant. Regions are boxes around the cases; exact distances come later.
WITH wanted AS MATERIALIZED (
    SELECT name, number, litgo.area_variants(name) AS keys, 1::bigint << (number %% 63)::int AS mask
    FROM unnest(%(areas)s::text[]) WITH ORDINALITY AS a (name, number)
),
region AS MATERIALIZED (  -- from arrays: the planner sees how many there are
    SELECT r.box::box AS box, (
        SELECT bit_or(w.mask) FROM wanted w
        WHERE w.name IN (SELECT jsonb_array_elements_text(r.areas::jsonb))) AS mask
    FROM unnest(%(boxes)s::text[], %(box_areas)s::text[]) AS r (box, areas)
),
-- Who is in a region, whatever they work in: an index of areas, asked once a region, would give half of all lawyers each
-- time. Masks say which areas are wanted there; two areas of a batch may share a bit, which lets a few more through.
around AS MATERIALIZED (
    SELECT id, bit_or(mask) AS mask
    FROM (
        SELECT l.id, r.mask FROM region r JOIN lawyers l ON litgo.placed(l.geo_latlon) <@ r.box
{near_by_numbers}        UNION ALL  -- for cases served from anywhere
        SELECT l.id, (SELECT bit_or(w.mask) FROM wanted w WHERE w.name = ANY(%(anywhere)s::text[])) FROM lawyers l
        WHERE litgo.area_keys(l.tags_expertise, l.primary_area) && (
            SELECT array_agg(key) FROM wanted w, unnest(w.keys) AS key WHERE w.name = ANY(%(anywhere)s::text[]))
    ) found
    GROUP BY id
),
-- What is known of them, each column once: another marketplace may look it up elsewhere, row by row.
-- `labels`: what they say they work in, as written, the first 500. What a way of writing it means is looked up once, and
-- each spelling once, not once a lawyer.
lawyer AS MATERIALIZED (
    SELECT l.id, a.mask, litgo.area_names(l.tags_expertise, l.primary_area) AS labels, {lawyer_place} AS place,
           l.created_at, l.is_available, l.active, l.leave_from, l.leave_until, l.max_concurrent_cases
    FROM around a JOIN lawyers l USING (id)
),
written AS MATERIALIZED (  -- by number below: a list of thousands of words would stand in as many rows
    SELECT row_number() OVER () AS list, labels FROM (SELECT DISTINCT labels FROM lawyer) AS known
),
spelling AS MATERIALIZED (
    SELECT label, litgo.area_keys(NULL, label) AS keys
    FROM (SELECT DISTINCT label FROM written, unnest(labels) AS label) AS known
),
meant AS MATERIALIZED (
    SELECT r.list, array_agg(DISTINCT w.number) AS numbers, bit_or(w.mask) AS mask
    FROM written r
    CROSS JOIN LATERAL unnest(r.labels) AS one (label)
    JOIN (SELECT s.label, w.number, w.mask FROM spelling s JOIN wanted w ON s.keys && w.keys) w USING (label)
    GROUP BY r.list
),
works_in AS (
    SELECT l.*, w.number AS area, w.name AS area_name
    FROM lawyer l JOIN written USING (labels) JOIN meant m USING (list)
    CROSS JOIN unnest(m.numbers) AS one (number) JOIN wanted w USING (number)
    WHERE l.mask & m.mask <> 0
),
account AS MATERIALIZED (  -- a lawyer's, of whom several may be one person
    SELECT l.id AS lawyer_id, coalesce(other.lawyer_id, l.id) AS account_id
    FROM lawyer l
    LEFT JOIN litgo.lawyer_accounts mine ON mine.lawyer_id = l.id
    LEFT JOIN litgo.lawyer_accounts other ON other.person_id = mine.person_id
),
-- Of all accounts of those who are around alone, and materialized: where the planner takes them to be one lawyer, it reads
-- what stands here once for each of them.
offered AS MATERIALIZED (  -- the ledger: offers of any status, with those this batch has made
    SELECT a.lawyer_id, count(*) AS offers, max(o.sent_at) AS last_offered_at,
           count(*) FILTER (WHERE o.sent_at > %(as_of)s::timestamptz - interval '24 hours') AS offers_1d,
           count(*) FILTER (WHERE o.sent_at > %(as_of)s::timestamptz - interval '72 hours') AS offers_3d,
           count(*) FILTER (WHERE o.sent_at > %(as_of)s::timestamptz - interval '240 hours') AS offers_10d
    FROM account a JOIN offers o ON o.lawyer_id = a.account_id
    WHERE o.sent_at > %(as_of)s::timestamptz - interval '720 hours' AND o.sent_at < %(until)s
    GROUP BY a.lawyer_id
),
open_cases AS MATERIALIZED (
    SELECT a.lawyer_id, count(*) AS contracts FROM account a JOIN contracts c ON c.lawyer_id = a.account_id
    WHERE c.status IN ('pending-signature', 'active')
    GROUP BY a.lawyer_id
),
newest AS (SELECT max(night) AS night FROM litgo.equity_history WHERE as_of <= %(as_of)s),
twin AS (  -- accounts of one lawyer, the oldest first, with what they have together
    SELECT a.lawyer_id AS id, a.person_id, dense_rank() OVER (ORDER BY a.person_id) AS number,
           row_number() OVER (PARTITION BY a.person_id ORDER BY litgo.joined(l.created_at), l.id) AS place,
           sum(h.cases_30d) OVER (PARTITION BY a.person_id) AS cases_30d,
           max(h.last_offered_at) OVER (PARTITION BY a.person_id) AS last_offered_at
    FROM litgo.lawyer_accounts a JOIN lawyers l ON l.id = a.lawyer_id
    LEFT JOIN litgo.equity_history h ON h.lawyer_id = a.lawyer_id AND h.night = (SELECT night FROM newest)
)
SELECT l.id::text AS lawyer_id, l.area, coalesce((e.degrees ->> l.area_name)::float8, 0) AS degree,
       l.place[0] AS lng, l.place[1] AS lat,
       -- as the night computed it: what the marketplace shows of it may be changed there. No night has seen the newest yet
       coalesce(h.capacidade_mensal, %(base_capacity)s)::float8 AS capacity,
       coalesce(twin.cases_30d, h.cases_30d, 0)::float8 AS cases_30d,
       extract(epoch FROM litgo.joined(l.created_at))::float8 AS joined, coalesce(o.offers, 0)::float8 AS offers_30d,
       coalesce(o.offers_1d, 0)::float8 AS offers_1d, coalesce(o.offers_3d, 0)::float8 AS offers_3d,
       coalesce(o.offers_10d, 0)::float8 AS offers_10d,
       -- in microseconds, which a double holds exactly; the night's figure may be older than the ledger's
       (extract(epoch FROM GREATEST(h.last_offered_at, twin.last_offered_at, o.last_offered_at)) * 1000000)::float8 AS last_offered,
       coalesce(e.concluded, 0)::float8 AS concluded, coalesce(e.won, 0)::float8 AS won, e.years::float8,
       coalesce(e.publications, 0)::float8 AS publications, e.response_h::float8, e.stars::float8,
       coalesce(e.reviews, 0)::float8 AS reviews, e.softskill::float8,
       twin.number::float8 AS twin, twin.place::float8 AS account,
       CASE WHEN isfinite(l.created_at) AND l.created_at <= %(as_of)s
            THEN extract(epoch FROM %(as_of)s - l.created_at) / 86400 END::float8 AS tenure_days,
       {momentum}
FROM works_in l
LEFT JOIN offered o ON o.lawyer_id = l.id
LEFT JOIN open_cases p ON p.lawyer_id = l.id
LEFT JOIN litgo.lawyer_evidence e ON e.lawyer_id = l.id
LEFT JOIN twin ON twin.id = l.id
LEFT JOIN litgo.lawyer_momentum lately ON lately.lawyer_id = l.id AND lately.area = l.area_name AND lately.as_of <= %(as_of)s
LEFT JOIN litgo.equity_history h ON h.lawyer_id = coalesce(twin.person_id, l.id) AND h.night = (SELECT night FROM newest)
WHERE {available}
ORDER BY l.id
