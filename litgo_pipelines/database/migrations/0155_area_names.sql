-- The words a lawyer's areas are named with: the list's first 500, then the main area. The one place that says how many count.
CREATE FUNCTION litgo.area_names(areas text[], area text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_append((litgo.list(areas))[:500], area);
