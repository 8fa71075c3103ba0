-- As before; of a text beyond 10,000 characters the rest counts by its digest: folding a hundred megabytes takes many
-- minutes, and every case waits meanwhile.
CREATE OR REPLACE FUNCTION litgo.said(VARIADIC parts text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN btrim(regexp_replace(litgo.folded(left(array_to_string(parts, ' '), 10000)), '[^a-z0-9]+', ' ', 'g'))
    || CASE WHEN length(array_to_string(parts, ' ')) > 10000
            THEN ' ' || md5(substr(array_to_string(parts, ' '), 10001)) ELSE '' END;
