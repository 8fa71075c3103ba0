-- Lawyers with many reviews within a day, in the 90 days before the instant: the most there were in any 24 hours. Nobody's
-- reviews are dropped for it; a person looks.
SELECT lawyer_id::text, max(reviews) AS reviews, max(last) AS last
FROM (
    SELECT c.lawyer_id, r.created_at AS last, count(*) OVER (
               PARTITION BY c.lawyer_id ORDER BY r.created_at RANGE BETWEEN interval '24 hours' PRECEDING AND CURRENT ROW
           ) AS reviews
    FROM reviews r JOIN contracts c ON c.id = r.contract_id
    WHERE r.created_at <= %(as_of)s AND r.created_at > %(as_of)s::timestamptz - interval '90 days'
) w
GROUP BY lawyer_id
HAVING max(reviews) >= %(least)s
ORDER BY max(reviews) DESC, lawyer_id
LIMIT 100
