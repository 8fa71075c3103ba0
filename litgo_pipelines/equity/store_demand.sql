INSERT INTO litgo.pool_demand (starts, ends, area, state, cases)
SELECT w.starts + d.day * interval '24 hours', w.starts + (d.day + 1) * interval '24 hours', d.area, d.state, d.cases
FROM (SELECT %s::timestamptz - interval '720 hours' AS starts) w,
    unnest(%s::int[], %s::text[], %s::text[], %s::int[]) AS d (day, area, state, cases)
