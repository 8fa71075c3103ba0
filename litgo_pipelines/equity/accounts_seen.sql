-- What accounts of one lawyer follow from, and what was made of it; also our version, which reads numbers in its own way.
SELECT concat_ws(' ', max(m.version), (
    SELECT count(*) || ' ' || bit_xor(hash_record_extended(ROW (id, oab_number, created_at), 0)) FROM lawyers WHERE oab_number <> ''
), (
    SELECT count(*) || ' ' || bit_xor(hash_record_extended(ROW (lawyer_id, person_id), 0)) FROM litgo.lawyer_accounts
)) AS fingerprint FROM litgo.schema_migrations m
