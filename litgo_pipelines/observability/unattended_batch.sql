-- Batches left open that no matching has finished; one of the future was written while a clock was wrong.
SELECT batch_id::text, as_of AS due_at
FROM litgo.matching_batches
WHERE finished_at IS NULL AND as_of NOT BETWEEN %(as_of)s::timestamptz - interval '2 hours' AND %(as_of)s::timestamptz + interval '2 hours'
