-- How many lawyers are in the regions, one in two of them counted twice; stops counting at `most`.
WITH region AS (SELECT box::box AS box, NULL AS mask FROM unnest(%(boxes)s::text[]) AS box)
SELECT count(*) FROM (
        SELECT l.id, r.mask FROM region r JOIN lawyers l ON litgo.placed(l.geo_latlon) <@ r.box
{near_by_numbers}        LIMIT %(most)s
) found
