-- As before; letters of every script count, not of ours alone: two matters told in Chinese, or in Cyrillic, said the same as soon
-- as the same figure stood in both. By code points, which are alike in a database of any locale.
CREATE OR REPLACE FUNCTION litgo.said(VARIADIC parts text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN btrim(regexp_replace(
        litgo.folded(left(array_to_string(parts, ' '), 10000)),
        '[^a-z0-9\u00df-\u00f6\u00f8-\u02af\u0370-\u1fff\u2c00-\u2dff\u3041-\ud7ff\uf900-\ufdff\ufe70-\ufefc\U00010000-\U0001efff\U00020000-\U0003ffff]+',
        ' ', 'g'))
    || CASE WHEN length(array_to_string(parts, ' ')) > 10000
            THEN ' ' || md5(substr(array_to_string(parts, ' '), 10001)) ELSE '' END;
