-- Vectors that a service made of texts whose person does not consent any more are deleted; local ones are there anyway.
-- A person who is not shown has not said no: who is deleted is followed by another job.
DELETE FROM litgo.text_embeddings e
USING (
    SELECT sha256(convert_to(litgo.case_text(c.title, c.description), 'UTF8')) AS text_hash
    FROM profiles p JOIN cases c ON c.client_id = p.id
    WHERE p.ai_consent IS NOT TRUE AND (NOT %(waiting_only)s OR c.status = 'pending_assignment')
    UNION
    SELECT sha256(convert_to(stated.text, 'UTF8'))
    FROM profiles p JOIN lawyers l ON l.id = p.id
    CROSS JOIN LATERAL litgo.curriculum_texts(l.curriculo_json) AS stated (text)
    WHERE p.ai_consent IS NOT TRUE AND NOT %(waiting_only)s
) withdrawn
WHERE e.text_hash = withdrawn.text_hash AND e.model = ANY(%(models)s)
