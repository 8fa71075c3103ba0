-- Which texts belong to which case and lawyer, as of the instant: cases that wait for a lawyer; for lawyers the cases they
-- concluded and what their curriculum says of itself. A new kind of text belongs in persons/texts.sql too.
SELECT kind, owner_id, case_id, since, text, sha256(convert_to(text, 'UTF8')) AS text_hash
FROM (
    SELECT 'case' AS kind, id AS owner_id, id AS case_id, created_at AS since, litgo.case_text(title, description) AS text
    FROM cases
    WHERE status = 'pending_assignment' AND created_at < %(as_of)s
    UNION ALL
    SELECT 'lawyer', k.lawyer_id, c.id, k.created_at, litgo.case_text(c.title, c.description)
    FROM contracts k JOIN cases c ON c.id = k.case_id
    WHERE k.status = 'closed' AND k.created_at < %(as_of)s
    UNION ALL
    SELECT 'lawyer', l.id, NULL, l.created_at, stated.text
    FROM lawyers l CROSS JOIN LATERAL litgo.curriculum_texts(l.curriculo_json) AS stated (text)
    WHERE litgo.joined(l.created_at) < %(as_of)s
) source
WHERE text ~ '[[:alnum:]]'
