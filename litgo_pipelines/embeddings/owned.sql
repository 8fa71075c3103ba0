-- The newest texts of each owner that are embedded, in the given order of owners.
SELECT o.number - 1, e.vector, t.bag
FROM (
    SELECT owner_id, text_hash,
           row_number() OVER (PARTITION BY owner_id ORDER BY max(since) DESC, text_hash) AS newest
    FROM ({sources}) s
    WHERE kind = %(kind)s AND owner_id = ANY(%(owners)s::uuid[])
    GROUP BY owner_id, text_hash
) s
JOIN unnest(%(owners)s::uuid[]) WITH ORDINALITY AS o (id, number) ON o.id = s.owner_id
JOIN litgo.text_embeddings e
    ON e.text_hash = s.text_hash AND e.model = %(model)s AND e.dimension = %(dimension)s
    AND e.sequence <= %(watermark)s
JOIN litgo.text_stems t ON t.text_hash = s.text_hash AND t.version = %(stems)s
WHERE s.newest <= %(texts_each)s
ORDER BY o.number, s.newest
