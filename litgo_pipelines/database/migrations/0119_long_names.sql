-- As before; of a word nobody knows the first 200 characters: whoever pastes a whole letter there has written more than an
-- index of ours takes.
CREATE OR REPLACE FUNCTION litgo.area_name(word text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN coalesce(
        (SELECT w.area FROM litgo.area_words w WHERE w.key = litgo.area_key(area_name.word)),
        (SELECT w.area FROM unnest(litgo.area_parts(area_name.word)) WITH ORDINALITY AS p (key, place)
         JOIN litgo.area_words w ON w.key = p.key ORDER BY p.place LIMIT 1),
        left(btrim(area_name.word), 200));
END $$;
