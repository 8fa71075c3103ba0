-- Texts that have no embedding of the model yet, each once, longest first: texts of a length share a batch.
SELECT s.text_hash, min(s.text) AS text
FROM ({sources}) s
WHERE NOT EXISTS (
    SELECT FROM litgo.text_embeddings e
    WHERE e.text_hash = s.text_hash AND e.model = %(model)s AND e.dimension = %(dimension)s
)
GROUP BY s.text_hash
ORDER BY length(min(s.text)) DESC, s.text_hash
