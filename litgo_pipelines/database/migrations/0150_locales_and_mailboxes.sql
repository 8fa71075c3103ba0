-- Small letters, the same in a database of any locale: in Turkish ones the small I has no dot.
CREATE FUNCTION litgo.small(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN lower(lower(value COLLATE "C") COLLATE "default");

-- As before, in any locale.
CREATE OR REPLACE FUNCTION litgo.folded(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN litgo.small(regexp_replace(normalize(btrim(value), NFD), '[\u0300-\u036f]', '', 'g'));
CREATE OR REPLACE FUNCTION litgo.address_digest(address text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(sha256(convert_to(litgo.small(btrim(address)), 'UTF8')), 'hex');
-- Capitals of what was folded: Latin letters alone count in a registration number. Its reading is as before but for that.
CREATE FUNCTION litgo.capitals(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN upper(value COLLATE "C");
DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('litgo.oab_key_read(text)'::regprocedure), 'upper(', 'litgo.capitals(');
END $$;

-- The mailbox that an address reaches: what follows a + is its owner's own, and Gmail reads no dots. An address that begins
-- with a + is a telephone's number. Null stays null.
CREATE FUNCTION litgo.mailbox(address text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN btrim(address) LIKE '+%' THEN litgo.small(btrim(address))
    WHEN litgo.small(address) ~ '@g(oogle)?mail\.com\s*$'
    THEN replace(split_part(split_part(litgo.small(btrim(address)), '@', 1), '+', 1), '.', '') || '@gmail.com'
    ELSE split_part(split_part(litgo.small(btrim(address)), '@', 1), '+', 1) || '@'
        || split_part(litgo.small(btrim(address)), '@', 2)
END;
