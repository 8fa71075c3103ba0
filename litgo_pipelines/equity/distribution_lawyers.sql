-- One row per lawyer of the night and area, ordered by lawyer; the first of a lawyer's rows carries the lawyer. Accounts of
-- one lawyer are one: by the capacity, the place and the primary area of the oldest, with the offers and areas of all.
WITH account AS (
    SELECT h.lawyer_id, coalesce(a.person_id, h.lawyer_id) AS person, h.as_of, h.capacidade_mensal, h.offers_30d
    FROM litgo.equity_history h LEFT JOIN litgo.lawyer_accounts a ON a.lawyer_id = h.lawyer_id
    -- as a subquery: of the newest night the statistics know nothing, and a constant would be planned as that of one lawyer
    WHERE h.night = (SELECT %(night)s::date)
),
there AS (  -- who can be offered cases, or could in the window
    SELECT c.person, sum(c.offers_30d)::float8 AS offers
    FROM account c JOIN lawyers l ON l.id = c.lawyer_id
    GROUP BY c.person
    HAVING bool_or(l.is_available AND coalesce(l.active, true)) OR bool_or(EXISTS (
        SELECT FROM litgo.lawyer_availability v
        WHERE v.lawyer_id = c.lawyer_id AND v.valid_from < c.as_of
          AND coalesce(v.valid_to, 'infinity') > c.as_of - interval '720 hours'))
),
said AS (
    SELECT DISTINCT c.person, s.label
    FROM account c JOIN lawyers l ON l.id = c.lawyer_id
    CROSS JOIN LATERAL unnest(litgo.area_names(l.tags_expertise, l.primary_area)) AS s (label)
    WHERE s.label IS NOT NULL
),
name AS (  -- each spelling is looked at once, not once a lawyer
    SELECT label, litgo.area_name(label) AS name FROM (SELECT DISTINCT label FROM said) known
),
works_in AS (SELECT DISTINCT s.person, n.name FROM said s JOIN name n USING (label))
SELECT c.lawyer_id::text AS id, p.name AS primary_area, place.at[1] AS lat, place.at[0] AS lng,
       c.capacidade_mensal::float8 AS capacity, t.offers, w.name AS area
FROM there t
JOIN account c ON c.lawyer_id = t.person
JOIN lawyers l ON l.id = c.lawyer_id
CROSS JOIN LATERAL (SELECT {lawyer_place} AS at) place
LEFT JOIN name p ON p.label = l.primary_area
LEFT JOIN works_in w ON w.person = t.person
ORDER BY c.lawyer_id
