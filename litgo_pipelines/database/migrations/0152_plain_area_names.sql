-- What a lawyer's areas are found by: the same keys as before. A name of one plain word, as nearly all are, is read at
-- once; the whole reading is for the others. The index of areas reads them whenever a lawyer's row is written to another
-- page, as for everybody a matching offers a case. None has a query: so the planner puts it in place of its call.
DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('litgo.area_keys(text[],text)'::regprocedure), 'area_keys', 'area_keys_read');
    ALTER FUNCTION litgo.area_keys_read(text[], text) COST 200;
END $$;

CREATE FUNCTION litgo.area_keys_of(name text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN name IS NULL THEN '{}'
    WHEN name ~ '^[A-ZÁÀÂÃÉÊÍÓÔÕÚÇ]?[a-záàâãéêíóôõúç]{1,60}$'
    THEN ARRAY[lower(translate(name, 'ÁÀÂÃÉÊÍÓÔÕÚÇáàâãéêíóôõúç', 'AAAAEEIOOOUCaaaaeeiooouc') COLLATE "C")]
    ELSE litgo.area_keys_read(NULL, name)
END;

CREATE OR REPLACE FUNCTION litgo.area_keys(areas text[], area text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN array_ndims(areas) > 1 OR array_lower(areas, 1) <> 1 OR cardinality(areas) > 4
    THEN litgo.area_keys_read(areas, area)
    ELSE litgo.area_keys_of(areas[1]) || litgo.area_keys_of(areas[2]) || litgo.area_keys_of(areas[3])
        || litgo.area_keys_of(areas[4]) || litgo.area_keys_of(area)
END;
