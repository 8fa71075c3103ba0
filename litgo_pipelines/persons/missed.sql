INSERT INTO litgo.missed_subjects AS m (kind, id, first_missed_at, last_missed_at, looks)
SELECT %(kind)s, id, %(at)s, %(at)s, 1
FROM unnest(%(ids)s::uuid[]) AS id
ON CONFLICT (kind, id) DO UPDATE SET looks = m.looks + 1, last_missed_at = excluded.last_missed_at
WHERE excluded.last_missed_at >= m.last_missed_at + interval '12 hours'
