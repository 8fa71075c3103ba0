-- Who could be offered a case as of an instant, whichever case: a condition on `lawyers l` and their `open_cases p`.
l.is_available AND litgo.joined(l.created_at) < %(as_of)s AND coalesce(l.active, true)
  -- nobody on leave, and no offer whose term would run into one
  AND (l.leave_from IS NULL AND l.leave_until IS NULL OR l.leave_until <= %(as_of)s
       OR l.leave_from > %(as_of)s::timestamptz + {offer_hours} * interval '1 hour')
  AND coalesce(coalesce(p.contracts, 0) < litgo.limit_of(l.max_concurrent_cases), true)
