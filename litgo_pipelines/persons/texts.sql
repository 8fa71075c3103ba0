-- Every text of a person that the pipelines read, whatever its state, with the hash its vectors are kept under.
SELECT source.owner_id, source.case_id, source.text, sha256(convert_to(source.text, 'UTF8')) AS text_hash
FROM (
    SELECT client_id AS owner_id, id AS case_id, left(concat_ws(E'\n', title, description), 10000) AS text FROM cases
    UNION ALL
    SELECT l.id, NULL, left(stated.text, 10000)
    FROM lawyers l
    CROSS JOIN LATERAL (
        SELECT l.curriculo_json ->> 'resumo' AS text
        UNION ALL
        SELECT CASE jsonb_typeof(opinion) WHEN 'string' THEN opinion #>> '{}' ELSE opinion ->> 'texto' END
        FROM jsonb_array_elements(
            CASE jsonb_typeof(l.curriculo_json -> 'pareceres') WHEN 'array' THEN l.curriculo_json -> 'pareceres' END
        ) AS opinion
    ) stated
) source
WHERE source.text ~ '[[:alnum:]]'
