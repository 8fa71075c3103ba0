UPDATE contracts k SET
    status = v.status,
    signed_client = coalesce(k.signed_client, to_timestamp(v.client)),
    signed_lawyer = coalesce(k.signed_lawyer, to_timestamp(v.lawyer)),
    doc_url = CASE WHEN v.status IN ('active', 'closed')
                   THEN coalesce(k.doc_url, 'https://example.com/contratos/' || k.id) ELSE k.doc_url END
FROM (VALUES %s) AS v (id, status, client, lawyer)
WHERE k.id = v.id::uuid
