-- Who may do what with the source views. Run by roles.py, and by `litgo migrate` when it made the views anew: what is not
-- named here is taken away. The views read and write the marketplace's tables with the rights of their owner.

REVOKE ALL ON ALL TABLES IN SCHEMA litgo_source FROM PUBLIC, litgo_pipelines, litgo_exporter, litgo_office, litgo_backup;
REVOKE ALL ON SCHEMA litgo_source FROM PUBLIC, litgo_pipelines, litgo_exporter, litgo_office, litgo_backup;
GRANT USAGE ON SCHEMA litgo_source TO litgo_pipelines, litgo_exporter, litgo_office;

GRANT SELECT ON ALL TABLES IN SCHEMA litgo_source TO litgo_pipelines;
GRANT UPDATE (cases_30d, capacidade_mensal, last_offered_at, equity_updated_at) ON litgo_source.lawyers TO litgo_pipelines;
GRANT UPDATE (area, subarea, urgency_h, complexity) ON litgo_source.cases TO litgo_pipelines;
GRANT INSERT ON litgo_source.case_matches TO litgo_pipelines;
GRANT UPDATE (fair_score, equity_score, raw_score, features, breakdown, weights_used, preset_used, created_at)
    ON litgo_source.case_matches TO litgo_pipelines;
GRANT INSERT (id, case_id, lawyer_id, status, sent_at, expires_at, fair_score, raw_score, equity_weight, last_offered_at,
              created_at) ON litgo_source.offers TO litgo_pipelines;
GRANT UPDATE (status, expires_at) ON litgo_source.offers TO litgo_pipelines;
GRANT UPDATE (status, signed_client, signed_lawyer) ON litgo_source.contracts TO litgo_pipelines;

GRANT SELECT ON litgo_source.exported_cases, litgo_source.exported_offers, litgo_source.exported_contracts
    TO litgo_exporter, litgo_office;
GRANT SELECT (id, client_id, status, area, subarea, urgency_h) ON litgo_source.cases TO litgo_office;
GRANT SELECT (id, status, signed_client, signed_lawyer) ON litgo_source.contracts TO litgo_office;
