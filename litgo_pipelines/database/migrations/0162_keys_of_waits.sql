-- One key for the news that nobody was found for a case: written where it is told, read where somebody is still to hear.
CREATE FUNCTION litgo.case_waits_key(case_id uuid, since timestamptz, person uuid) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'case_waits:' || case_id || ':' || extract(epoch FROM since) || ':' || person;
