SELECT format('process %s of %s, %s, open for %s s', pid, coalesce(nullif(application_name, ''), usename), state,
    extract(epoch FROM clock_timestamp() - xact_start)::int)
FROM pg_stat_activity
WHERE datname = current_database()
  AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL
ORDER BY xact_start
LIMIT 3
