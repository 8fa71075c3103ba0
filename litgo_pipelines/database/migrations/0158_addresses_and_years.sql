-- An e-mail address as it is sent to: what notifications/addresses.py makes of what a profile holds, but for the domain's
-- form in the network.
CREATE FUNCTION litgo.address(written text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(
    normalize(regexp_replace(written, '[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]', '', 'g'), NFKC),
    '^\s*(mailto:\s*)?|\s+$', '', 'gi');

-- As before, of the address that is sent to.
CREATE OR REPLACE FUNCTION litgo.address_digest(address text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(sha256(convert_to(litgo.small(litgo.address(address)), 'UTF8')), 'hex');
CREATE OR REPLACE FUNCTION litgo.mailbox(address text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN sent_to LIKE '+%' THEN sent_to
        WHEN sent_to ~ '@g(oogle)?mail\.com$'
        THEN replace(split_part(split_part(sent_to, '@', 1), '+', 1), '.', '') || '@gmail.com'
        ELSE split_part(split_part(sent_to, '@', 1), '+', 1) || '@' || split_part(sent_to, '@', 2)
    END
    FROM litgo.small(litgo.address(address)) AS sent_to
);

-- As before; what names no year is read at less cost.
CREATE OR REPLACE FUNCTION litgo.stated_years(stated text, as_of date) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN stated !~* '\d{4}|desde' THEN litgo.stated_years(stated) ELSE (
    SELECT CASE WHEN told.text !~ '\mdesde (os|as|mis|meus) \d' THEN coalesce(
        CASE WHEN told.years IS NULL OR told.text ~ '\d\s*a\M|\m(anos?|mes(es)?|decadas?|years?)\M' THEN
            (SELECT n FROM litgo.stated_years(stated) n WHERE told.years IS NULL OR n <= 80) END,
        coalesce(told.years[2]::int, extract(year FROM as_of)) - told.years[1]::int)
    END
    FROM (SELECT text, regexp_match(text, '\m((?:19|20)\d\d)\M(?:\s*(?:-|–|a|ate|to)\s*\m((?:19|20)\d\d)\M)?') AS years
          FROM litgo.folded(normalize(stated, NFKC)) AS text) AS told
) END;
