-- What is known of every lawyer as of an instant, computed and written in one statement; only rows that differ are
-- written. Reads events at or before as_of; profiles as they are now. A kill leaves nothing, a rerun changes nothing.
WITH profile AS MATERIALIZED (
    -- absurd values are treated as absent, like missing ones; what is numeric in JSON may be too large for a double
    SELECT l.id, litgo.area_names(l.tags_expertise, l.primary_area) AS areas, l.kpi_subarea, l.curriculo_json,
           COALESCE((%(stated_cases)s::jsonb ->> upper(btrim(l.kpi ->> 'success_status')))::int, 0) AS stated_cases,
           jsonb_path_query_first(l.kpi, 'strict $.success_rate ? (@ >= 0 && @ <= 1)', '{}', true)::numeric AS rate,
           round(jsonb_path_query_first(
               l.kpi, 'strict $.tempo_resposta_h ? (@ >= 0.001 && @ <= 8760)', '{}', true)::numeric, 3) AS response_h,
           jsonb_typeof(l.curriculo_json) = 'object' AND l.curriculo_json <> '{}' AS has_curriculum,
           round(coalesce(jsonb_path_query_first(
               l.curriculo_json, 'strict $.anos_experiencia ? (@ >= 0 && @ <= 80)', '{}', true)::numeric,
               w.years), 3) AS years,
           (%(as_of)s::timestamptz::date - litgo.day(l.oab_inscription_date::date)) / 365.25 AS inscribed_years,
           round(coalesce(jsonb_path_query_first(
               l.curriculo_json, 'strict $.num_publicacoes ? (@ >= 0 && @ <= 10000)', '{}', true)::numeric,
               w.publications), 3) AS publications,
           litgo.number(l.kpi_softskill) AS softskill
    FROM lawyers l
    CROSS JOIN LATERAL (  -- figures in words, or in a text
        SELECT CASE WHEN t.years BETWEEN 0 AND 80 THEN t.years END AS years,
               CASE WHEN t.publications BETWEEN 0 AND 10000 THEN t.publications END AS publications
        FROM (SELECT CASE WHEN jsonb_typeof(l.curriculo_json -> 'anos_experiencia') = 'string'
                          THEN litgo.stated_years(left(l.curriculo_json ->> 'anos_experiencia', 200),
                                                  %(as_of)s::timestamptz::date) END AS years,
                     CASE WHEN jsonb_typeof(l.curriculo_json -> 'num_publicacoes') = 'string'
                          THEN litgo.stated_number(left(l.curriculo_json ->> 'num_publicacoes', 200)) END AS publications
        ) t
    ) w
    WHERE litgo.joined(l.created_at) <= %(as_of)s
),
client AS MATERIALIZED (
    SELECT DISTINCT c.client_id, c.lawyer_id FROM contracts c JOIN reviews r ON r.contract_id = c.id
),
own_account AS MATERIALIZED (
    -- a client who is the lawyer: by id, mailbox, or as a lawyer of the same registration number
    SELECT client_id, lawyer_id FROM client WHERE client_id = lawyer_id
    UNION
    SELECT k.client_id, k.lawyer_id
    FROM client k
    JOIN profiles p ON p.id = k.client_id
    JOIN profiles l ON l.id = k.lawyer_id AND litgo.mailbox(l.email) = litgo.mailbox(p.email)
    WHERE btrim(p.email) <> ''
    UNION
    SELECT k.client_id, k.lawyer_id
    FROM client k
    JOIN lawyers p ON p.id = k.client_id
    JOIN lawyers l ON l.id = k.lawyer_id AND litgo.oab_key(l.oab_number) = litgo.oab_key(p.oab_number)
    UNION  -- an account of the same mailbox as another one with the lawyer's number
    SELECT k.client_id, k.lawyer_id
    FROM client k
    JOIN profiles p ON p.id = k.client_id
    JOIN profiles q ON litgo.mailbox(q.email) = litgo.mailbox(p.email)
    JOIN lawyers o ON o.id = q.id
    JOIN lawyers l ON l.id = k.lawyer_id AND litgo.oab_key(l.oab_number) = litgo.oab_key(o.oab_number)
    WHERE btrim(p.email) <> ''
),
reviewed AS MATERIALIZED (
    -- of contracts that were in force and have ended, the first review of each, by nobody of the lawyer's own
    SELECT DISTINCT ON (c.id) c.lawyer_id, c.case_id, r.outcome IN ('won', 'settled') AS won,
           r.outcome IN ('won', 'settled', 'lost') AS concluded,
           CASE WHEN r.rating BETWEEN 1 AND 5 THEN round(r.rating::numeric, 6) END AS stars, s.score
    FROM reviews r
    JOIN contracts c ON c.id = r.contract_id
    LEFT JOIN litgo.review_sentiment s ON s.review_id = r.id AND r.comment IS NOT NULL
    WHERE r.created_at <= %(as_of)s AND c.status = 'closed'
      AND c.signed_client IS NOT NULL AND c.signed_lawyer IS NOT NULL
      AND NOT EXISTS (SELECT FROM own_account o WHERE o.client_id = c.client_id AND o.lawyer_id = c.lawyer_id)
    ORDER BY c.id, r.created_at, r.id
),
platform AS (
    SELECT lawyer_id, count(*) FILTER (WHERE concluded) AS concluded, count(*) FILTER (WHERE won) AS won,
           avg(stars) AS stars, count(stars) AS reviews, sum(score) AS sentiment, count(score) AS scored
    FROM reviewed
    GROUP BY lawyer_id
),
answered AS (
    SELECT o.lawyer_id, percentile_cont(0.5) WITHIN GROUP (
               ORDER BY extract(epoch FROM o.responded_at - o.sent_at)::float8 / 3600) AS hours
    FROM offers o
    WHERE o.sent_at > %(as_of)s::timestamptz - %(answer_days)s * interval '24 hours'
      AND o.responded_at >= o.sent_at AND o.responded_at <= %(as_of)s
    GROUP BY o.lawyer_id
    HAVING count(*) >= %(least_answers)s
),
stated_degree AS MATERIALIZED (
    SELECT p.id AS lawyer_id, p.areas, stated ->> 'nivel' AS title, btrim(stated ->> 'area') AS area
    FROM profile p
    CROSS JOIN jsonb_path_query(
        p.curriculo_json, 'strict $.pos_graduacoes[*] ? (@.nivel.type() == "string" && @.area.type() == "string")',
        '{}', true) AS stated
),
title AS MATERIALIZED (
    SELECT title, max(known.level) AS level
    FROM (SELECT DISTINCT title FROM stated_degree) stated
    JOIN unnest(%(degree_patterns)s::text[], %(degree_levels)s::int[]) AS known (pattern, level)
         ON litgo.folded(title) ~ known.pattern
    GROUP BY title
),
same_area AS MATERIALIZED (
    -- the marketplace's name of an area that is stated with other accents or case
    SELECT stated.area, known.area AS name
    FROM (SELECT DISTINCT area FROM stated_degree WHERE area <> '') stated
    JOIN (SELECT DISTINCT unnest(areas) AS area FROM profile) known
         ON litgo.folded(known.area) = litgo.folded(stated.area)
),
degree AS (
    SELECT lawyer_id, jsonb_object_agg(area, level) AS degrees
    FROM (
        SELECT s.lawyer_id, COALESCE(own.name, s.area) AS area, max(t.level) AS level
        FROM stated_degree s
        JOIN title t ON t.title = s.title
        LEFT JOIN same_area own ON own.area = s.area AND own.name = ANY(s.areas)
        WHERE s.area <> ''
        GROUP BY s.lawyer_id, COALESCE(own.name, s.area)
    ) highest
    GROUP BY lawyer_id
),
computed AS MATERIALIZED (
    SELECT p.id AS lawyer_id,
           CASE WHEN better.stated THEN p.stated_cases ELSE COALESCE(e.concluded, 0) END::float8 AS concluded,
           CASE WHEN better.stated THEN p.stated_cases * round(p.rate, 6) ELSE COALESCE(e.won, 0) END::float8 AS won,
           CASE WHEN p.has_curriculum THEN
               COALESCE(p.years, CASE WHEN p.inscribed_years BETWEEN 0 AND 80 THEN p.inscribed_years END)::float8
           END AS years,
           COALESCE(p.publications, 0)::float8 AS publications,
           COALESCE(d.degrees, '{}') AS degrees,
           COALESCE(p.response_h::float8, a.hours) AS response_h,
           e.stars::float8 AS stars, COALESCE(e.reviews, 0)::int AS reviews,
           CASE WHEN e.scored > 0
                THEN ((e.sentiment + 0.5 * %(prior_comments)s) / (e.scored + %(prior_comments)s))::float8
                WHEN p.softskill BETWEEN 0 AND 1 THEN p.softskill END AS softskill
    FROM profile p
    LEFT JOIN platform e ON e.lawyer_id = p.id
    LEFT JOIN answered a ON a.lawyer_id = p.id AND p.response_h IS NULL
    LEFT JOIN degree d ON d.lawyer_id = p.id
    -- of what the platform saw and what the profile states, the one founded on more cases
    CROSS JOIN LATERAL (
        SELECT p.rate IS NOT NULL AND p.stated_cases > COALESCE(e.concluded, 0) AS stated
    ) better
),
subareas AS MATERIALIZED (
    SELECT DISTINCT ON (lawyer_id, area, subarea) lawyer_id, area, subarea, concluded::float8, won::float8
    FROM (
        SELECT r.lawyer_id, k.area, k.subarea, count(*) AS concluded, count(*) FILTER (WHERE r.won) AS won, 1 AS source
        FROM reviewed r
        JOIN cases k ON k.id = r.case_id
        JOIN profile p ON p.id = r.lawyer_id
        WHERE r.concluded AND k.area <> '' AND k.subarea <> ''
        GROUP BY r.lawyer_id, k.area, k.subarea
        UNION ALL
        -- "Area/Subarea": a subarea may hold a slash, an area does not
        SELECT p.id, name.area, name.subarea, p.stated_cases,
               p.stated_cases * round((stated -> 'value')::numeric, 6), 2
        FROM profile p
        CROSS JOIN jsonb_path_query(
            p.kpi_subarea, 'strict $.keyvalue() ? (@.value >= 0 && @.value <= 1)', '{}', true) AS stated
        CROSS JOIN LATERAL (
            SELECT btrim(split_part(stated ->> 'key', '/', 1)) AS area,
                   btrim(substr(stated ->> 'key', strpos(stated ->> 'key', '/') + 1)) AS subarea
        ) name
        WHERE p.stated_cases > 0 AND strpos(stated ->> 'key', '/') > 0 AND name.area <> '' AND name.subarea <> ''
    ) both_sources
    WHERE length(area) <= 200 AND length(subarea) <= 200  -- longer than an index takes, and no name
    ORDER BY lawyer_id, area, subarea, concluded DESC, source, won DESC
),
refreshed AS (
    INSERT INTO litgo.evidence_refresh (as_of) VALUES (%(as_of)s) ON CONFLICT (one) DO UPDATE SET as_of = excluded.as_of
),
written AS (
    INSERT INTO litgo.lawyer_evidence
        (as_of, lawyer_id, concluded, won, years, publications, degrees, response_h, stars, reviews, softskill)
    SELECT %(as_of)s, changed.*
    FROM (
        TABLE computed
        EXCEPT
        SELECT lawyer_id, concluded, won, years, publications, degrees, response_h, stars, reviews, softskill
        FROM litgo.lawyer_evidence
    ) changed
    ON CONFLICT (lawyer_id) DO UPDATE
    SET (as_of, concluded, won, years, publications, degrees, response_h, stars, reviews, softskill) =
        (excluded.as_of, excluded.concluded, excluded.won, excluded.years, excluded.publications, excluded.degrees,
         excluded.response_h, excluded.stars, excluded.reviews, excluded.softskill)
    RETURNING 1
),
forgotten AS (
    DELETE FROM litgo.lawyer_evidence e WHERE NOT EXISTS (SELECT FROM computed c WHERE c.lawyer_id = e.lawyer_id)
    RETURNING 1
),
written_subareas AS (
    INSERT INTO litgo.lawyer_subarea_evidence (lawyer_id, area, subarea, concluded, won)
    TABLE subareas EXCEPT SELECT lawyer_id, area, subarea, concluded, won FROM litgo.lawyer_subarea_evidence
    ON CONFLICT (area, subarea, lawyer_id) DO UPDATE SET concluded = excluded.concluded, won = excluded.won
    RETURNING 1
),
forgotten_subareas AS (
    DELETE FROM litgo.lawyer_subarea_evidence e
    WHERE NOT EXISTS (
        SELECT FROM subareas s WHERE (s.lawyer_id, s.area, s.subarea) = (e.lawyer_id, e.area, e.subarea)
    )
    RETURNING 1
),
forgotten_sentiment AS (
    DELETE FROM litgo.review_sentiment s WHERE NOT EXISTS (SELECT FROM reviews r WHERE r.id = s.review_id)
)
SELECT (SELECT count(*) FROM computed) AS lawyers,
       (SELECT count(*) FROM written) + (SELECT count(*) FROM forgotten) AS lawyers_changed,
       (SELECT count(*) FROM subareas) AS subareas,
       (SELECT count(*) FROM written_subareas) + (SELECT count(*) FROM forgotten_subareas) AS subareas_changed
