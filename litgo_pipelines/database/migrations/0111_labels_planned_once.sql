-- Labels, the same as before: the area is named once, not for every word of the taxonomy, and a session plans each
-- query once.
CREATE OR REPLACE FUNCTION litgo.area_label(word text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE named text := litgo.area_name(area_label.word);
BEGIN
    RETURN CASE WHEN EXISTS (SELECT FROM litgo.area_words w WHERE w.area = named) THEN named ELSE 'outra' END;
END $$;

CREATE OR REPLACE FUNCTION litgo.subarea_label(area text, word text) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE label text := litgo.area_label(subarea_label.area);
BEGIN
    RETURN (SELECT s.subarea FROM litgo.subarea_words s
            WHERE s.area = label AND s.key = litgo.area_key(subarea_label.word));
END $$;
