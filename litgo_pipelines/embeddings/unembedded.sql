-- Which of the cases came so lately that their text could not be embedded yet.
SELECT owner_id::text
FROM ({sources}) s
WHERE kind = 'case' AND owner_id = ANY(%(case_ids)s::uuid[]) AND since > %(since)s
  AND NOT EXISTS (
      SELECT FROM litgo.text_embeddings e
      WHERE e.text_hash = s.text_hash AND e.model = %(model)s AND e.dimension = %(dimension)s
  )
