-- Characters that are written and not seen, as a pattern: of no width, marks of direction, the soft hyphen, of interlinear notes.
-- Said once; addresses are read as before. An area or a registration number is read otherwise where a mark of direction other
-- than U+200E and U+200F, or U+180E, U+2061 to U+206F or U+FFF9 to U+FFFB stands within a word or number, which was read as
-- two. The indexes with the old answers are made anew after the migrations (marketplace/indexes.py).
CREATE FUNCTION litgo.invisible() RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE  -- a strict reader is planned into its caller with strict functions alone
RETURN '[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]';

DO $$
DECLARE
    stale regclass;
    reader regprocedure;
    list text;
BEGIN
    FOR stale IN SELECT indexrelid::regclass FROM pg_index
                 WHERE pg_get_indexdef(indexrelid) ~ 'litgo\.(area_keys|oab_key)\(' LOOP
        EXECUTE 'DROP INDEX ' || stale;
    END LOOP;
    FOR reader, list IN VALUES
        ('litgo.address(text)'::regprocedure, quote_literal(litgo.invisible())),
        ('litgo.area_key(text)', '''[\u00ad\u200b-\u200f\u2060\ufeff]'''),
        ('litgo.oab_key_read(text)', '''[\u00ad\u200b-\u200f\u2060\ufeff]''') LOOP
        EXECUTE replace(pg_get_functiondef(reader), list, 'litgo.invisible()');
    END LOOP;
END $$;
