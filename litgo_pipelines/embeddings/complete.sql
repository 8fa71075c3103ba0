-- Is everything that would be compared by the local model's vectors there in the better model's too? A lawyer's text that
-- its service refuses, or that must not go there, is left out of the comparison; a case's text cannot be.
SELECT NOT EXISTS (
    SELECT
    FROM (
        SELECT kind, text_hash,
               row_number() OVER (PARTITION BY kind, owner_id ORDER BY max(since) DESC, text_hash) AS newest
        FROM ({sources}) s
        WHERE kind = 'case' AND owner_id = ANY(%(case_ids)s::uuid[])
           OR kind = 'lawyer' AND owner_id = ANY(%(lawyer_ids)s::uuid[])
        GROUP BY kind, owner_id, text_hash
    ) s
    JOIN litgo.text_embeddings e
        ON e.text_hash = s.text_hash AND e.model = %(local)s AND e.sequence <= %(watermark)s
    WHERE s.newest <= %(texts_each)s
      AND NOT EXISTS (
          SELECT FROM litgo.text_embeddings b
          WHERE b.text_hash = s.text_hash AND b.model = %(model)s AND b.dimension = %(dimension)s
            AND b.sequence <= %(watermark)s
      )
      AND NOT (s.kind = 'lawyer' AND EXISTS (
          SELECT FROM litgo.unembeddable_texts u WHERE u.text_hash = s.text_hash AND u.model = %(model)s
          UNION ALL
          SELECT FROM litgo.withheld_texts w WHERE w.text_hash = s.text_hash
      ))
)
