-- Who could be offered a case as of an instant, whichever case: a condition on `lawyers l` and their `open_cases p`.
l.is_available AND l.created_at < %(as_of)s AND coalesce(l.active, true)
  AND (l.max_concurrent_cases IS NULL OR l.max_concurrent_cases <= 0
       OR coalesce(p.contracts, 0) < l.max_concurrent_cases)
