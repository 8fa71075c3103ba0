-- A row where a unique index of theirs, without a condition, makes the key tell rows apart. By name: whoever asks may have no
-- right on the schema.
SELECT 1
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'r')  -- children have rows of their own
  AND NOT EXISTS (
      SELECT FROM generate_series(0, i.indnkeyatts - 1) AS k
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[k]
      WHERE a.attname IS NULL OR a.attname <> ALL (%(keys)s))
