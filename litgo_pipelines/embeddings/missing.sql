-- Texts that have no embedding of the model yet, each once, with whose they are; longest first: texts of a length share a
-- batch. For a service (remote) only what may leave. What the model's service refused for good is not missing.
SELECT s.text_hash, min(s.text) AS text, array_remove(array_agg(s.case_id::text), NULL) AS case_ids,
       array_remove(array_agg(CASE WHEN s.kind = 'lawyer' THEN s.owner_id::text END), NULL) AS lawyer_ids
FROM ({sources}) s
LEFT JOIN cases c ON c.id = s.case_id
LEFT JOIN profiles p ON p.id = coalesce(c.client_id, s.owner_id)
WHERE s.kind = ANY(%(kinds)s)
  AND NOT EXISTS (
      SELECT FROM litgo.text_embeddings e
      WHERE e.text_hash = s.text_hash AND e.model = %(model)s AND e.dimension = %(dimension)s
  )
  AND NOT EXISTS (SELECT FROM litgo.unembeddable_texts u WHERE u.text_hash = s.text_hash AND u.model = %(model)s)
  AND NOT (%(remote)s AND EXISTS (
      SELECT FROM litgo.withheld_texts w WHERE w.text_hash = s.text_hash AND w.reason = 'text'))
GROUP BY s.text_hash
HAVING NOT %(remote)s OR bool_and({may_leave})
ORDER BY length(min(s.text)) DESC, s.text_hash
