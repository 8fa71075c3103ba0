-- Which texts the marketplace's rows hold, said once: what is embedded is what is exported and erased. Inlined.

-- A case in its client's words; the first 10,000 characters are what is read.
CREATE FUNCTION litgo.case_text(title text, description text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN left(concat_ws(E'\n', title, description), 10000);

-- What a curriculum says of itself (resumo) and a lawyer's opinions (pareceres), each the first 10,000 characters.
CREATE FUNCTION litgo.curriculum_texts(curriculum jsonb) RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT left(curriculum ->> 'resumo', 10000)
    UNION ALL
    SELECT left(CASE jsonb_typeof(opinion) WHEN 'string' THEN opinion #>> '{}' ELSE opinion ->> 'texto' END, 10000)
    FROM jsonb_array_elements(
        CASE jsonb_typeof(curriculum -> 'pareceres') WHEN 'array' THEN curriculum -> 'pareceres' END
    ) AS opinion;
END;
