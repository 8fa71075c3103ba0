SELECT i.indexrelid, c.relname, m.amname,
    array(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnkeyatts) k),
    pg_get_expr(i.indpred, i.indrelid), i.indisvalid AND i.indisready, pg_get_indexdef(i.indexrelid)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = %s
ORDER BY c.relname
