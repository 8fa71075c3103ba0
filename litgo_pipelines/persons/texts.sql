-- Every text of a person that the pipelines read, whatever its state, with the hash its vectors are kept under.
SELECT source.owner_id, source.case_id, source.text, sha256(convert_to(source.text, 'UTF8')) AS text_hash
FROM (
    SELECT client_id AS owner_id, id AS case_id, litgo.case_text(title, description) AS text FROM cases
    UNION ALL
    SELECT l.id, NULL, stated.text FROM lawyers l CROSS JOIN LATERAL litgo.curriculum_texts(l.curriculo_json) AS stated (text)
) source
WHERE source.text ~ '[[:alnum:]]'
