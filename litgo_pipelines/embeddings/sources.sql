-- Which texts belong to which case and lawyer, as of the instant: cases that wait for a lawyer; for lawyers the cases they
-- concluded and what their curriculum says of itself (resumo, pareceres). The first 10,000 characters are what is read.
SELECT kind, owner_id, case_id, since, text, sha256(convert_to(text, 'UTF8')) AS text_hash
FROM (
    SELECT 'case' AS kind, id AS owner_id, id AS case_id, created_at AS since,
           left(concat_ws(E'\n', title, description), 10000) AS text
    FROM cases
    WHERE status = 'pending_assignment' AND created_at < %(as_of)s
    UNION ALL
    SELECT 'lawyer', k.lawyer_id, c.id, k.created_at, left(concat_ws(E'\n', c.title, c.description), 10000)
    FROM contracts k JOIN cases c ON c.id = k.case_id
    WHERE k.status = 'closed' AND k.created_at < %(as_of)s
    UNION ALL
    SELECT 'lawyer', l.id, NULL, l.created_at, left(stated.text, 10000)
    FROM lawyers l
    CROSS JOIN LATERAL (
        SELECT l.curriculo_json ->> 'resumo' AS text
        UNION ALL
        SELECT CASE jsonb_typeof(opinion) WHEN 'string' THEN opinion #>> '{}' ELSE opinion ->> 'texto' END
        FROM jsonb_array_elements(
            CASE jsonb_typeof(l.curriculo_json -> 'pareceres') WHEN 'array' THEN l.curriculo_json -> 'pareceres' END
        ) AS opinion
    ) stated
    WHERE litgo.joined(l.created_at) < %(as_of)s
) source
WHERE text ~ '[[:alnum:]]'
