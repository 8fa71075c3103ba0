-- As good as a random sample, and the same one until texts come: hashes have no order of their own.
SELECT 0, e.vector, t.bag
FROM litgo.text_embeddings e
JOIN litgo.text_stems t ON t.text_hash = e.text_hash AND t.version = %(stems)s
WHERE e.model = %(model)s AND e.dimension = %(dimension)s AND e.as_of <= %(as_of)s AND e.sequence <= %(watermark)s
ORDER BY e.text_hash
LIMIT %(size)s
