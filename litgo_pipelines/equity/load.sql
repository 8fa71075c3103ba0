-- Equity of every lawyer for one night, computed and kept in one statement; write_back.sql shows it in the marketplace.
-- years_points and success_rate_points are the steps of the capacity rules as CASE expressions (`capacity.py`).
-- Reads the marketplace as of the instant as_of; a kill leaves nothing, a rerun changes nothing.
WITH window_30d AS (
    -- 720 hours, not '30 days': a day is not 24 h where the clocks once changed
    SELECT %(as_of)s::timestamptz AS ends, %(as_of)s::timestamptz - interval '720 hours' AS starts
),
active_cases AS (
    -- a case counts once: by its contract, or by the interest shown in it while it has no contract
    SELECT lawyer_id, count(*)::int AS cases
    FROM (
        SELECT c.lawyer_id, c.case_id
        FROM contracts c, window_30d w
        WHERE c.created_at >= w.starts AND c.created_at < w.ends AND c.status <> 'canceled'
        UNION
        SELECT o.lawyer_id, o.case_id
        FROM offers o, window_30d w
        WHERE o.status = 'interested' AND o.responded_at >= w.starts AND o.responded_at < w.ends
          AND NOT EXISTS (
              SELECT FROM contracts c
              WHERE c.case_id = o.case_id AND c.status <> 'canceled' AND c.created_at < w.ends
          )
    ) counted
    GROUP BY lawyer_id
),
offered AS (
    SELECT o.lawyer_id, max(o.sent_at) AS last_offered_at, count(*)::int AS offers
    FROM offers o, window_30d w
    WHERE o.sent_at >= w.starts AND o.sent_at < w.ends
    GROUP BY o.lawyer_id
),
{before}size AS MATERIALIZED (  -- «Médio», «escritório de médio porte», «grande»
    SELECT value::int AS cases, '^(escritorio )?(de )?(porte )?' || regexp_replace(litgo.folded(key), 'o$', '[oa]')
                                || '( porte)?$' AS said
    FROM jsonb_each_text(%(firm_size)s::jsonb)
),
profile AS MATERIALIZED (  -- what is unpacked here is so once a lawyer
    -- absurd values are treated as absent, like missing ones
    SELECT l.id, w.ends, litgo.day(l.oab_inscription_date::date) AS inscribed,
           CASE jsonb_typeof(l.curriculo_json -> 'anos_experiencia')
               WHEN 'number' THEN (l.curriculo_json -> 'anos_experiencia')::numeric
               WHEN 'string' THEN
                   litgo.stated_years(left(l.curriculo_json ->> 'anos_experiencia', 200), w.ends::date)
           END AS stated_years,
           CASE WHEN jsonb_typeof(l.kpi -> 'success_rate') = 'number' AND (l.kpi -> 'success_rate')::numeric <= 1
                THEN (l.kpi -> 'success_rate')::numeric END AS success_rate,
           l.curriculo_json ->> 'porte_escritorio' AS firm_size, l.max_concurrent_cases
    FROM lawyers l, window_30d w
    WHERE litgo.joined(l.created_at) < w.ends
),
firm AS MATERIALIZED (  -- each wording once, not once a lawyer
    SELECT f.firm_size, max(size.cases) AS cases
    FROM (SELECT firm_size, btrim(litgo.folded(firm_size)) AS folded FROM profile GROUP BY firm_size) f
    JOIN size ON f.folded ~ size.said
    GROUP BY f.firm_size
),
capacity AS MATERIALIZED (
    SELECT p.id,
           LEAST(GREATEST(
               %(base)s + %(years_points)s + %(success_rate_points)s + COALESCE(f.cases, 0),
               %(minimum)s), %(maximum)s, litgo.limit_of(p.max_concurrent_cases))::int AS cases_a_month
    FROM profile p
    LEFT JOIN firm f USING (firm_size)
    CROSS JOIN LATERAL (SELECT CASE WHEN p.stated_years BETWEEN 0 AND 80 THEN p.stated_years
                                    ELSE (p.ends::date - p.inscribed) / 365.25 END AS years) y
),
computed AS MATERIALIZED (
    SELECT c.id AS lawyer_id, COALESCE(a.cases, 0) AS cases_30d, c.cases_a_month AS capacidade_mensal,
           -- of who was offered nothing in the window: its cost must not grow with all offers ever made
           COALESCE(o.last_offered_at, {last_before}) AS last_offered_at, COALESCE(o.offers, 0) AS offers_30d,
           COALESCE(a.cases, 0)::float8 / c.cases_a_month AS load
    FROM capacity c
    LEFT JOIN active_cases a ON a.lawyer_id = c.id
    LEFT JOIN offered o ON o.lawyer_id = c.id
    {join_before}
),
history AS (
    INSERT INTO litgo.equity_history AS h
        (night, lawyer_id, as_of, cases_30d, capacidade_mensal, last_offered_at, offers_30d, load)
    SELECT %(night)s, lawyer_id, %(as_of)s, cases_30d, capacidade_mensal, last_offered_at, offers_30d, load
    FROM computed
    ON CONFLICT (night, lawyer_id) DO UPDATE
    SET as_of = excluded.as_of, cases_30d = excluded.cases_30d, capacidade_mensal = excluded.capacidade_mensal,
        last_offered_at = excluded.last_offered_at, offers_30d = excluded.offers_30d, load = excluded.load
    WHERE (h.as_of, h.cases_30d, h.capacidade_mensal, h.last_offered_at, h.offers_30d)
        IS DISTINCT FROM
          (excluded.as_of, excluded.cases_30d, excluded.capacidade_mensal, excluded.last_offered_at, excluded.offers_30d)
    RETURNING 1
),
forgotten AS (
    -- a rerun of a night drops lawyers who were deleted since; a subquery, as in distribution_lawyers.sql
    DELETE FROM litgo.equity_history h
    WHERE h.night = (SELECT %(night)s::date) AND NOT EXISTS (SELECT FROM computed c WHERE c.lawyer_id = h.lawyer_id)
    RETURNING 1
)
SELECT (SELECT count(*) FROM computed) AS lawyers,
       (SELECT count(*) FROM history) + (SELECT count(*) FROM forgotten) AS history_changed
