-- A registration number as it is compared: «OAB/SP 123.456», «123456 SP» and «SP123456» are one. Null without digits.
CREATE FUNCTION litgo.oab_key(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN nullif(ltrim(regexp_replace(number, '[^0-9]', '', 'g'), '0'), '') || coalesce(
    substring(regexp_replace(upper(number), 'OAB', '', 'g')
              FROM '(?:^|[^A-Z])(AC|AL|AM|AP|BA|CE|DF|ES|GO|MA|MG|MS|MT|PA|PB|PE|PI|PR|RJ|RN|RO|RR|RS|SC|SE|SP|TO)(?:[^A-Z]|$)'),
    '');

-- What a text says, whatever its case, accents, blanks and signs; empty for none.
CREATE FUNCTION litgo.said(VARIADIC parts text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN btrim(regexp_replace(litgo.folded(array_to_string(parts, ' ')), '[^a-z0-9]+', ' ', 'g'));

-- Cases that say the same as an earlier one of the same client, a moment later. They wait while that one is on its way.
CREATE TABLE litgo.case_duplicates (
    case_id uuid PRIMARY KEY,
    of_case_id uuid NOT NULL CHECK (of_case_id <> case_id),
    seen_at timestamptz NOT NULL
);
