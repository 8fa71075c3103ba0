-- Batches left open that no matching has finished.
SELECT batch_id::text, as_of AS due_at
FROM litgo.matching_batches
WHERE finished_at IS NULL AND as_of < %(as_of)s::timestamptz - interval '2 hours'
