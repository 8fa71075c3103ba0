-- Who may do what in the marketplace's database. Run by roles.py, again after every upgrade: what is not named here is
-- taken away. No passwords: roles.py sets them, or \password in psql.
--
-- litgo_pipelines: every run. It changes no table, deletes nothing of the marketplace's, and updates the columns named.
-- litgo_exporter:  reads what /metrics shows and counts Dagster's runs; sees no name, address, text or document.
-- litgo_office:    reads what the office's page shows, and writes nothing; sees no name, address, text or document either.
-- litgo_backup:    reads what a backup holds, and notes that one was made. Its process is no run and runs nothing else.

DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['litgo_pipelines', 'litgo_exporter', 'litgo_office', 'litgo_backup', 'litgo_dagster', 'litgo_mlflow'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
END $roles$;

-- What somebody gave them besides: attributes, memberships, rights on schemas and tables of others.
DO $taken$
DECLARE
    who record;
    given record;
BEGIN
    FOR who IN SELECT * FROM pg_roles WHERE rolname IN ('litgo_pipelines', 'litgo_exporter', 'litgo_office', 'litgo_backup', 'litgo_dagster', 'litgo_mlflow') LOOP
        IF who.rolsuper OR who.rolcreaterole OR who.rolcreatedb OR who.rolreplication OR who.rolbypassrls THEN
            EXECUTE format('ALTER ROLE %I %s %s %s %s %s', who.rolname,
                           CASE WHEN who.rolsuper THEN 'NOSUPERUSER' END, CASE WHEN who.rolcreaterole THEN 'NOCREATEROLE' END,
                           CASE WHEN who.rolcreatedb THEN 'NOCREATEDB' END,
                           CASE WHEN who.rolreplication THEN 'NOREPLICATION' END,
                           CASE WHEN who.rolbypassrls THEN 'NOBYPASSRLS' END);
        END IF;
        FOR given IN SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = who.oid LOOP
            EXECUTE format('REVOKE %I FROM %I', given.rolname, who.rolname);
        END LOOP;
        FOR given IN
            SELECT DISTINCT n.nspname FROM pg_namespace n, aclexplode(n.nspacl) a
            WHERE a.grantee = who.oid AND n.nspname <> 'litgo_source'
        LOOP
            EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', given.nspname, who.rolname);
        END LOOP;
        FOR given IN
            SELECT DISTINCT n.nspname, c.relname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname <> 'litgo_source' AND (
                EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = who.oid)
                OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = c.oid AND a.grantee = who.oid))
        LOOP
            EXECUTE format('REVOKE ALL ON %s %I.%I FROM %I', given.kind, given.nspname, given.relname, who.rolname);
        END LOOP;
        EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM %I', current_database(), who.rolname);
    END LOOP;
END $taken$;
-- Where everybody's rights on the database were taken away; nights and snapshots make temporary tables.
DO $database$
BEGIN
    IF NOT has_database_privilege('litgo_pipelines', current_database(), 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO litgo_pipelines, litgo_exporter, litgo_office, litgo_backup', current_database());
    END IF;
    IF NOT has_database_privilege('litgo_pipelines', current_database(), 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO litgo_pipelines', current_database());
    END IF;
END $database$;
-- Not EXECUTE on functions: the marketplace's own roles run those of our indexes whenever they write a lawyer.
REVOKE ALL ON SCHEMA litgo FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA litgo FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA litgo FROM PUBLIC;
GRANT USAGE ON SCHEMA litgo TO litgo_pipelines, litgo_exporter, litgo_office, litgo_backup;

-- Ours. Everything may be read by the runs; what is append-only can only be appended to.
GRANT SELECT ON ALL TABLES IN SCHEMA litgo TO litgo_pipelines;
REVOKE ALL ON litgo.own_marketplace FROM litgo_pipelines;
GRANT INSERT ON
    litgo.alerts, litgo.allocation_parameters, litgo.contract_documents, litgo.contract_events, litgo.experiment_arms,
    litgo.experiment_cutoffs, litgo.experiment_ends, litgo.experiment_outcomes, litgo.experiment_phases,
    litgo.experiments, litgo.exposures, litgo.matchings, litgo.model_ledger, litgo.quality_checks,
    litgo.quality_incident_ends, litgo.quality_incidents, litgo.quality_references, litgo.text_embeddings,
    litgo.text_stems, litgo.unembeddable_texts
TO litgo_pipelines;
GRANT INSERT, UPDATE ON
    litgo.accounts_seen, litgo.circuit_breakers, litgo.contract_requests, litgo.deliveries, litgo.demand_night, litgo.evidence_refresh,
    litgo.matching_batches, litgo.metric_state, litgo.model_projection, litgo.offer_distribution, litgo.outbox,
    litgo.retrainings, litgo.source_counts, litgo.told,
    litgo.triage
TO litgo_pipelines;
GRANT UPDATE (considered) ON litgo.matchings TO litgo_pipelines;   -- retention
GRANT DELETE ON litgo.deliveries, litgo.job_runs, litgo.metric_state, litgo.outbox, litgo.told TO litgo_pipelines;
GRANT INSERT, DELETE ON litgo.candidate_sets, litgo.case_duplicates, litgo.lawyer_momentum, litgo.pool_demand TO litgo_pipelines;
-- An erasure's: what is append-only is pseudonymised by a function of the owner's, in the ids of an erased person alone.
GRANT INSERT, UPDATE ON litgo.deletions_confirmed, litgo.person_requests TO litgo_pipelines;
GRANT INSERT ON litgo.pseudonym_keys, litgo.tombstones TO litgo_pipelines;
GRANT DELETE ON
    litgo.contract_documents, litgo.contract_requests, litgo.matchings, litgo.pseudonym_keys, litgo.text_embeddings,
    litgo.text_stems,
    litgo.triage, litgo.unembeddable_texts
TO litgo_pipelines;
GRANT EXECUTE ON FUNCTION litgo.pseudonymise(bytea, uuid[], uuid[], uuid[]) TO litgo_pipelines;
GRANT INSERT, UPDATE, DELETE ON
    litgo.missed_subjects, litgo.withheld_texts, litgo.lawyer_accounts, litgo.lawyer_availability,
    litgo.case_waits, litgo.equity_history, litgo.lawyer_evidence, litgo.lawyer_subarea_evidence, litgo.mail_suppressions, litgo.matching_failures,
    litgo.review_sentiment, litgo.triage_failures
TO litgo_pipelines;

GRANT SELECT ON
    litgo.area_words, litgo.backups, litgo.case_duplicates, litgo.case_waits, litgo.circuit_breakers, litgo.current_champion,
    litgo.experiment_cutoffs, litgo.experiment_ends, litgo.experiments, litgo.job_runs, litgo.matching_failures, litgo.metric_state, litgo.model_ledger,
    litgo.matching_batches, litgo.offer_distribution, litgo.quality_checks, litgo.quality_references, litgo.told,
    litgo.triage_failures
TO litgo_exporter, litgo_office;
GRANT SELECT (case_id, round, matched_at) ON litgo.matchings TO litgo_exporter, litgo_office;  -- not who was considered
GRANT SELECT (message_id, kind, recipient_id, status, created_at, settled_at, retried_at) ON litgo.outbox
    TO litgo_exporter, litgo_office;
GRANT SELECT (recipient_id, status, next_attempt_at, finished_at) ON litgo.deliveries TO litgo_exporter, litgo_office;
GRANT SELECT (contract_id, status, method, requested_at, due_at, next_check_at, claimed_until, overdue_told_at)
    ON litgo.contract_requests TO litgo_exporter, litgo_office;
GRANT SELECT (case_id, status, as_of, urgency_h, reason) ON litgo.triage TO litgo_exporter, litgo_office;
GRANT SELECT (dedup_key) ON litgo.outbox TO litgo_office;
GRANT SELECT (reason) ON litgo.contract_requests TO litgo_office;
GRANT SELECT (alternatives, urgency_source, life_at_risk) ON litgo.triage TO litgo_office;
GRANT INSERT ON litgo.job_runs TO litgo_exporter;
GRANT INSERT, UPDATE ON litgo.metric_state TO litgo_exporter;

-- A backup is of what is ours: of the marketplace's tables where `litgo migrate` made them, and of nobody else's.
GRANT SELECT ON ALL TABLES IN SCHEMA litgo TO litgo_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA litgo TO litgo_backup;
GRANT INSERT ON litgo.backups TO litgo_backup;
DO $own$
BEGIN
    IF EXISTS (SELECT FROM litgo.own_marketplace) THEN
        GRANT USAGE ON SCHEMA public TO litgo_backup;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO litgo_backup;
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO litgo_backup;
    END IF;
END $own$;
