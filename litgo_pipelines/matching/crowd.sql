-- How many lawyers are in the regions (twice who is in two of them); stops counting at `most`.
WITH region AS (SELECT box::box AS box, NULL AS mask FROM unnest(%(boxes)s::text[]) AS box)
SELECT count(*) FROM (
        SELECT l.id, r.mask FROM region r JOIN lawyers l ON litgo.placed(l.geo_latlon) <@ r.box
{near_by_numbers}        LIMIT %(most)s
) found
