SELECT w.view, current_user || ' may not ' || w.verb || ' ' || string_agg(w.name, ', ' ORDER BY w.name)
    || ': run `python -m litgo_pipelines.database.roles` as the database''s owner'
FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (view, name, verb)
JOIN pg_attribute a ON a.attrelid = to_regclass(%s || w.view) AND a.attname = w.name
WHERE NOT has_column_privilege(a.attrelid, a.attnum, w.verb)
GROUP BY w.view, w.verb
ORDER BY 1, 2
