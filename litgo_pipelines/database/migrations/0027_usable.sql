-- Values as the marketplace's columns may hold them, made usable or absent: what one row holds is nobody else's trouble.
-- All are inlined, so that they cost a comparison; docs/development.md says where they stand.

-- An instant that arithmetic, a file and every client can hold; null for infinite ones, years before 1900 and after 2999.
CREATE FUNCTION litgo.instant(value timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value >= '1900-01-01 00:00:00+00'::timestamptz AND value < '3000-01-01 00:00:00+00'::timestamptz
            THEN value END;

-- A number as a double; null for NaN, infinity and what a double cannot hold. Digits beyond the 20th do not count: a cast
-- refuses numbers that are too small.
CREATE FUNCTION litgo.number(value numeric) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value > -1e300 AND value < 1e300 THEN round(value, 20)::double precision END;
CREATE FUNCTION litgo.number(value double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value > -1e300 AND value < 1e300 THEN value END;

-- When somebody joined; who did so at no usable instant has been there all along.
CREATE FUNCTION litgo.joined(value timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(litgo.instant(value), '1900-01-01 00:00:00+00'::timestamptz);

-- A day that can be subtracted from another.
CREATE FUNCTION litgo.day(value date) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value >= '1900-01-01'::date AND value < '3000-01-01'::date THEN value END;

-- A limit of cases: a whole number from 1 on; everything else is none.
CREATE FUNCTION litgo.limit_of(value numeric) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value BETWEEN 1 AND 1000000 AND value = floor(value) THEN value::int END;
CREATE FUNCTION litgo.limit_of(value double precision) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value BETWEEN 1 AND 1000000 AND value = floor(value) THEN value::int END;

-- A list; null for a table of values, to which nothing can be appended.
CREATE FUNCTION litgo.list(value text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN array_ndims(value) = 1 THEN value END;

-- As before for lists; never an error, and no key too long for an index: both would refuse the marketplace's own writes.
CREATE OR REPLACE FUNCTION litgo.area_keys(areas text[], area text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000
RETURN ARRAY(SELECT DISTINCT litgo.area_key(left(name, 200)) FROM unnest(array_append(litgo.list(areas), area)) AS name
             WHERE litgo.area_key(left(name, 200)) <> '');
CREATE OR REPLACE FUNCTION litgo.oab_key(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN nullif(ltrim(regexp_replace(left(number, 100), '[^0-9]', '', 'g'), '0'), '') || coalesce(
    substring(regexp_replace(upper(left(number, 100)), 'OAB', '', 'g')
              FROM '(?:^|[^A-Z])(AC|AL|AM|AP|BA|CE|DF|ES|GO|MA|MG|MS|MT|PA|PB|PE|PI|PR|RJ|RN|RO|RR|RS|SC|SE|SP|TO)(?:[^A-Z]|$)'),
    '');
