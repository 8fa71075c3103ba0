-- Rows that nobody simulated, by table. Simulated ids lie in [low, high); an offer or match that matching made of a
-- simulated case to a simulated lawyer has an id of its own, and a matching that says so.
WITH made AS (
    SELECT m.case_id, (entry ->> 'lawyer_id')::uuid AS lawyer_id
    FROM litgo.matchings m
    CROSS JOIN LATERAL jsonb_array_elements(m.considered) AS entries (entry)
    WHERE (entry ->> 'offered')::boolean AND m.case_id >= %(low)s AND m.case_id < %(high)s
        AND (entry ->> 'lawyer_id')::uuid >= %(low)s AND (entry ->> 'lawyer_id')::uuid < %(high)s
)
SELECT 'profiles', count(*) FROM public.profiles WHERE id < %(low)s OR id >= %(high)s
UNION ALL
SELECT 'lawyers', count(*) FROM public.lawyers WHERE id < %(low)s OR id >= %(high)s
UNION ALL
SELECT 'cases', count(*) FROM public.cases WHERE id < %(low)s OR id >= %(high)s
UNION ALL
SELECT 'case_matches', count(*) FROM public.case_matches
WHERE case_id < %(low)s OR case_id >= %(high)s OR lawyer_id < %(low)s OR lawyer_id >= %(high)s
UNION ALL
SELECT 'offers', count(*) FROM public.offers o
WHERE (o.id < %(low)s OR o.id >= %(high)s)
    AND NOT EXISTS (SELECT FROM made m WHERE m.case_id = o.case_id AND m.lawyer_id = o.lawyer_id)
UNION ALL
SELECT 'contracts', count(*) FROM public.contracts WHERE id < %(low)s OR id >= %(high)s
UNION ALL
SELECT 'reviews', count(*) FROM public.reviews WHERE id < %(low)s OR id >= %(high)s
