-- What areas of law are named by, with the same results as before. As plpgsql, a session plans each query once: a
-- function in SQL is planned anew by every statement, and by every call where another such function calls it. Not so
-- what an index of the marketplace's tables is made of: whoever writes there has no right on this schema.
-- The whole word first, else the first of its parts that is known.
CREATE OR REPLACE FUNCTION litgo.area_name(word text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN coalesce(
        (SELECT w.area FROM litgo.area_words w WHERE w.key = litgo.area_key(area_name.word)),
        (SELECT w.area FROM unnest(litgo.area_parts(area_name.word)) WITH ORDINALITY AS p (key, place)
         JOIN litgo.area_words w ON w.key = p.key ORDER BY p.place LIMIT 1),
        btrim(area_name.word));
END $$;

-- Every key of the word's area. The area is looked up once, not for each of the words.
CREATE OR REPLACE FUNCTION litgo.area_variants(word text) RETURNS text[]
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE area_there text := litgo.area_name(area_variants.word);
BEGIN
    RETURN ARRAY(SELECT w.key FROM litgo.area_words w WHERE w.area = area_there
                 UNION SELECT litgo.area_key(area_variants.word));
END $$;
