-- Who may do what in the marketplace's database. Run by roles.py, again after every upgrade: what is not named here is
-- taken away. No passwords: roles.py sets them, or \password in psql.
--
-- litgo_pipelines: every run. It changes no table, deletes nothing of the marketplace's, and updates the columns named.
-- litgo_exporter:  reads what /metrics shows and counts Dagster's runs; sees no name, address, text or document.

DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['litgo_pipelines', 'litgo_exporter', 'litgo_dagster', 'litgo_mlflow'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
END $roles$;

REVOKE ALL ON ALL TABLES IN SCHEMA public, litgo FROM litgo_pipelines, litgo_exporter;
GRANT USAGE ON SCHEMA public, litgo TO litgo_pipelines, litgo_exporter;

-- The marketplace's tables, column by column; a column that a marketplace does not have is left out. Of `lawyers` all is
-- read, for statements there take a row as a whole to find columns that not every marketplace has.
DO $marketplace$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('GRANT %s (%s) ON public.%I TO %I', g.privilege, string_agg(quote_ident(a.attname), ', '),
                      g.relation, g.grantee)
        FROM (VALUES
            ('litgo_pipelines', 'SELECT', 'profiles', '{id,full_name,email,push_token}'),
            ('litgo_pipelines', 'SELECT', 'lawyers', NULL),
            ('litgo_pipelines', 'UPDATE', 'lawyers', '{cases_30d,capacidade_mensal,last_offered_at,equity_updated_at}'),
            ('litgo_pipelines', 'SELECT', 'cases', '{id,client_id,title,description,area,subarea,urgency_h,complexity,'
                                                   'coords,lat,lng,status,preset,created_at}'),
            ('litgo_pipelines', 'UPDATE', 'cases', '{area,subarea,urgency_h,complexity}'),
            ('litgo_pipelines', 'SELECT', 'case_matches', NULL),
            ('litgo_pipelines', 'INSERT', 'case_matches', '{case_id,lawyer_id,fair_score,equity_score,raw_score,features,'
                                                          'breakdown,weights_used,preset_used,created_at}'),
            ('litgo_pipelines', 'UPDATE', 'case_matches', '{fair_score,equity_score,raw_score,features,breakdown,'
                                                          'weights_used,preset_used,created_at}'),
            ('litgo_pipelines', 'SELECT', 'offers', NULL),
            ('litgo_pipelines', 'INSERT', 'offers', '{id,case_id,lawyer_id,status,sent_at,expires_at,fair_score,raw_score,'
                                                    'equity_weight,last_offered_at,created_at}'),
            ('litgo_pipelines', 'UPDATE', 'offers', '{status}'),
            ('litgo_pipelines', 'SELECT', 'contracts', '{id,case_id,lawyer_id,client_id,status,fee_model,signed_client,'
                                                       'signed_lawyer,doc_url,created_at}'),
            ('litgo_pipelines', 'UPDATE', 'contracts', '{status,signed_client,signed_lawyer}'),
            ('litgo_pipelines', 'SELECT', 'reviews', '{id,contract_id,rating,outcome,comment,created_at}'),
            ('litgo_exporter', 'SELECT', 'cases', '{id,area,subarea,status,created_at}'),
            ('litgo_exporter', 'SELECT', 'offers', '{id,case_id,status,sent_at,responded_at,expires_at,created_at}'),
            ('litgo_exporter', 'SELECT', 'contracts', '{id,case_id,status,signed_client,signed_lawyer,doc_url,created_at}')
        ) AS g (grantee, privilege, relation, columns)
        JOIN pg_attribute a ON a.attrelid = to_regclass('public.' || g.relation) AND a.attnum > 0 AND NOT a.attisdropped
            AND (g.columns IS NULL OR a.attname = ANY(g.columns::text[]))
        GROUP BY g.grantee, g.privilege, g.relation
    LOOP
        EXECUTE statement;
    END LOOP;
END $marketplace$;

-- Where the marketplace has row security (Supabase), a role without a policy would see no rows: an empty result that is
-- none. What may be done is still only what is granted.
DO $policies$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT c.oid, c.relname, r.grantee
        FROM pg_class c, unnest(ARRAY['litgo_pipelines', 'litgo_exporter']) AS r (grantee)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relrowsecurity AND c.relname = ANY(
            '{profiles,lawyers,cases,case_matches,offers,contracts,reviews}'::text[])
          AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = r.grantee)
    LOOP
        EXECUTE format('CREATE POLICY %I ON public.%I TO %I USING (true) WITH CHECK (true)', t.grantee, t.relname,
                       t.grantee);
    END LOOP;
END $policies$;

-- Ours. Everything may be read by the runs; what is append-only can only be appended to.
GRANT SELECT ON ALL TABLES IN SCHEMA litgo TO litgo_pipelines;
REVOKE ALL ON litgo.own_marketplace, litgo.schema_migrations FROM litgo_pipelines;
GRANT SELECT ON litgo.schema_migrations TO litgo_pipelines;
GRANT INSERT ON
    litgo.alerts, litgo.allocation_parameters, litgo.contract_documents, litgo.contract_events, litgo.experiment_arms,
    litgo.experiment_cutoffs, litgo.experiment_ends, litgo.experiment_outcomes, litgo.experiment_phases,
    litgo.experiments, litgo.exposures, litgo.matchings, litgo.model_ledger, litgo.quality_checks,
    litgo.quality_incident_ends, litgo.quality_incidents, litgo.quality_references, litgo.text_embeddings,
    litgo.text_stems, litgo.unembeddable_texts
TO litgo_pipelines;
GRANT INSERT, UPDATE ON
    litgo.circuit_breakers, litgo.contract_requests, litgo.deliveries, litgo.evidence_refresh,
    litgo.lawyer_availability, litgo.matching_batches, litgo.metric_state, litgo.model_projection, litgo.offer_distribution, litgo.outbox, litgo.retrainings, litgo.told,
    litgo.triage
TO litgo_pipelines;
GRANT UPDATE (considered) ON litgo.matchings TO litgo_pipelines;   -- retention
GRANT DELETE ON litgo.deliveries, litgo.job_runs, litgo.metric_state, litgo.outbox, litgo.told TO litgo_pipelines;
GRANT INSERT, UPDATE, DELETE ON
    litgo.case_duplicates, litgo.case_waits, litgo.equity_history, litgo.lawyer_evidence, litgo.lawyer_subarea_evidence, litgo.matching_failures,
    litgo.review_sentiment, litgo.triage_failures
TO litgo_pipelines;

GRANT SELECT ON
    litgo.case_duplicates, litgo.case_waits, litgo.circuit_breakers, litgo.current_champion, litgo.equity_history, litgo.experiment_cutoffs, litgo.experiment_ends,
    litgo.experiments, litgo.job_runs, litgo.matching_failures, litgo.matchings, litgo.metric_state, litgo.model_ledger,
    litgo.matching_batches, litgo.offer_distribution, litgo.quality_checks, litgo.quality_references, litgo.told,
    litgo.triage_failures
TO litgo_exporter;
GRANT SELECT (message_id, kind, recipient_id, status, created_at, settled_at, retried_at) ON litgo.outbox
    TO litgo_exporter;
GRANT SELECT (recipient_id, status, next_attempt_at, finished_at) ON litgo.deliveries TO litgo_exporter;
GRANT SELECT (contract_id, status, method, requested_at, due_at, next_check_at, claimed_until)
    ON litgo.contract_requests TO litgo_exporter;
GRANT SELECT (case_id, status, as_of) ON litgo.triage TO litgo_exporter;
GRANT INSERT ON litgo.job_runs TO litgo_exporter;
GRANT INSERT, UPDATE ON litgo.metric_state TO litgo_exporter;
