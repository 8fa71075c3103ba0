-- Characters that are written and not seen: all of Unicode's category Cf, as marketplace/words.py and notifications/addresses.py
-- read them. Tags and the marks of some scripts were missing.
CREATE OR REPLACE FUNCTION litgo.invisible() RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE  -- a strict reader is planned into its caller with strict functions alone
RETURN '[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb'
    '\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]';

-- As before, with the list said once: 0163 did not reach it.
CREATE OR REPLACE FUNCTION litgo.address(written text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(
    normalize(regexp_replace(written, litgo.invisible(), '', 'g'), NFKC), '^\s*(mailto:\s*)?|\s+$', '', 'gi');

-- Indexes with the old answers are made anew after the migrations (marketplace/indexes.py).
DO $$
DECLARE
    stale regclass;
BEGIN
    FOR stale IN SELECT indexrelid::regclass FROM pg_index
                 WHERE pg_get_indexdef(indexrelid) ~ 'litgo\.(area_keys|oab_key)\(' LOOP
        EXECUTE 'DROP INDEX ' || stale;
    END LOOP;
END $$;
