SELECT label, value
FROM (
    SELECT DISTINCT ON (label) label, value, place
    FROM (
        SELECT litgo.pool_label(pool ->> 'pool') AS label, (pool ->> '{}')::float8 AS value, place
        FROM (SELECT pools FROM litgo.offer_distribution ORDER BY night DESC LIMIT 1) newest
        CROSS JOIN jsonb_array_elements(pools) WITH ORDINALITY AS p (pool, place)
    ) l
    ORDER BY label, place
) d
WHERE place <= {pools}
ORDER BY place
