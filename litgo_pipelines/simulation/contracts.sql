SELECT k.id::text, k.case_id::text, k.lawyer_id::text, k.client_id::text, k.status,
    extract(epoch FROM k.created_at)::float8, extract(epoch FROM k.signed_client)::float8,
    extract(epoch FROM k.signed_lawyer)::float8, {case}
FROM contracts k
JOIN cases c ON c.id = k.case_id
WHERE k.created_at <= %(stop)s AND c.area IS NOT NULL AND {which}
ORDER BY k.id
