-- Fingerprint of what the accounts of one lawyer are derived from and of what was derived; with the version of our schema,
-- since another may read registration numbers differently.
SELECT concat_ws(' ', max(m.version), (
    SELECT count(*) || ' ' || bit_xor(hash_record_extended(ROW (id, oab_number, created_at), 0)) FROM lawyers WHERE oab_number <> ''
), (
    SELECT count(*) || ' ' || bit_xor(hash_record_extended(ROW (lawyer_id, person_id), 0)) FROM litgo.lawyer_accounts
)) AS fingerprint FROM litgo.schema_migrations m
