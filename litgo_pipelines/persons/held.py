"""The declared map of our tables: which rows are about a person, and what an erasure does to them. Pure.

A test holds it against the catalogue: a table without an entry here fails. Conditions see the parameters of
`keys.Keys`: persons, cases, contracts, offers, reviews (uuid[]), texts (bytea[]), addresses and mentions (text[]).
"""

from dataclasses import dataclass

_IN_PAYLOAD = (
    "t.recipient_id = ANY(%(persons)s::uuid[]) OR t.payload ->> 'case_id' = ANY(%(mentions)s) "
    "OR t.payload ->> 'contract_id' = ANY(%(mentions)s) OR t.payload ->> 'offer_id' = ANY(%(mentions)s) "
    "OR t.payload ->> 'person_id' = ANY(%(mentions)s) OR t.dedup_key ~ %(pattern)s"
)
_CASE = "t.case_id = ANY(%(cases)s::uuid[])"
_LAWYER = "t.lawyer_id = ANY(%(persons)s::uuid[])"
_CONTRACT = "t.contract_id = ANY(%(contracts)s::uuid[])"
_TEXT = "t.text_hash = ANY(%(texts)s)"
_EITHER = "t.client_id = ANY(%(persons)s::uuid[]) OR t.case_id = ANY(%(cases)s::uuid[])"


@dataclass(frozen=True)
class Held:
    """Rows of a table about a person: those of `where`. erase: the statement's beginning; None: pseudonymised."""

    where: str
    erase: str | None


# In the order of erasure: what refers to another row goes before it.
HELD: dict[str, Held] = {
    "triage": Held(_CASE, "DELETE FROM litgo.triage t"),
    "triage_failures": Held(_CASE, "DELETE FROM litgo.triage_failures t"),
    "matching_failures": Held(_CASE, "DELETE FROM litgo.matching_failures t"),
    "case_waits": Held(_CASE, "DELETE FROM litgo.case_waits t"),
    "case_duplicates": Held(f"{_CASE} OR t.of_case_id = ANY(%(cases)s::uuid[])", "DELETE FROM litgo.case_duplicates t"),
    "told": Held(
        "t.recipient_id = ANY(%(persons)s::uuid[]) OR t.subject = ANY(%(mentions)s)", "DELETE FROM litgo.told t"
    ),
    "outbox": Held(_IN_PAYLOAD, "DELETE FROM litgo.outbox t"),
    "deliveries": Held("t.recipient_id = ANY(%(persons)s::uuid[])", "DELETE FROM litgo.deliveries t"),
    "mail_suppressions": Held("t.digest = ANY(%(addresses)s)", "DELETE FROM litgo.mail_suppressions t"),
    "contract_documents": Held(_CONTRACT, "DELETE FROM litgo.contract_documents t"),
    "contract_requests": Held(_CONTRACT, "DELETE FROM litgo.contract_requests t"),
    "review_sentiment": Held("t.review_id = ANY(%(reviews)s::uuid[])", "DELETE FROM litgo.review_sentiment t"),
    "lawyer_evidence": Held(_LAWYER, "DELETE FROM litgo.lawyer_evidence t"),
    "lawyer_subarea_evidence": Held(_LAWYER, "DELETE FROM litgo.lawyer_subarea_evidence t"),
    "lawyer_availability": Held(_LAWYER, "DELETE FROM litgo.lawyer_availability t"),
    "lawyer_momentum": Held(_LAWYER, "DELETE FROM litgo.lawyer_momentum t"),
    "lawyer_accounts": Held(
        f"{_LAWYER} OR t.person_id = ANY(%(persons)s::uuid[])", "DELETE FROM litgo.lawyer_accounts t"
    ),
    "equity_history": Held(_LAWYER, "DELETE FROM litgo.equity_history t"),
    "text_embeddings": Held(_TEXT, "DELETE FROM litgo.text_embeddings t"),
    "text_stems": Held(_TEXT, "DELETE FROM litgo.text_stems t"),
    "unembeddable_texts": Held(_TEXT, "DELETE FROM litgo.unembeddable_texts t"),
    "withheld_texts": Held(_TEXT, "DELETE FROM litgo.withheld_texts t"),
    "matchings": Held(_CASE, "DELETE FROM litgo.matchings t"),
    "candidate_sets": Held(_CASE, "DELETE FROM litgo.candidate_sets t"),
    "missed_subjects": Held("t.id::text = ANY(%(mentions)s)", "DELETE FROM litgo.missed_subjects t"),
    # What has to stay: who was in which arm, and what became of a contract. litgo.pseudonymise changes the ids.
    "experiment_arms": Held(_EITHER, None),
    "experiment_outcomes": Held("t.client_id = ANY(%(persons)s::uuid[])", None),
    "contract_events": Held(_CONTRACT, None),
    "exposures": Held(_EITHER, None),
    "matching_batches": Held("t.case_ids && %(cases)s::uuid[]", None),
}

# A lawyer among those who were considered for somebody else's case: the case's row stays without the entry.
CONSIDERED = "t.considered @? %(considered)s::jsonpath"
FORGET_CONSIDERED = (
    "UPDATE litgo.matchings t SET considered = coalesce((SELECT jsonb_agg(e ORDER BY n) "
    "FROM jsonb_array_elements(t.considered) WITH ORDINALITY AS entries (e, n) "
    "WHERE e ->> 'lawyer_id' <> ALL(%(mentions)s)), '[]')"
)

# The same of a set of candidates: it cannot be read without one of them, and a replay can do without the set.
FORGET_SETS = "DELETE FROM litgo.candidate_sets t WHERE t.lawyer_ids && %(persons)s::uuid[]"

# Tables without a row about anybody, and why.
NOBODY: dict[str, str] = {
    "accounts_seen": "a hash over all lawyers",
    "alerts": "models, experiments, services",
    "allocation_parameters": "figures of replays",
    "area_words": "names of areas",
    "subarea_words": "names of subareas",
    "backups": "names and sizes of backups",
    "circuit_breakers": "services",
    "deletions_confirmed": "who of the team confirmed deletions",
    "demand_night": "one instant",
    "evidence_refresh": "one instant",
    "experiment_cutoffs": "sums over arms",
    "experiment_ends": "decisions",
    "experiment_phases": "shares",
    "experiments": "rules",
    "job_runs": "runs",
    "metric_state": "counters",
    "model_ledger": "model versions, and who of the team decided",
    "model_projection": "one number",
    "offer_distribution": "sums over pools",
    "own_marketplace": "whether we created the marketplace's tables",
    "person_requests": "what was asked; the person as a digest",
    "pool_demand": "sums over pools",
    "pseudonym_keys": "keys, which retention deletes",
    "quality_checks": "sums over a version's cases",
    "quality_incident_ends": "model versions",
    "quality_incidents": "model versions",
    "quality_references": "rates of model versions",
    "retrainings": "figures of a snapshot; its file is searched",
    "schema_migrations": "our migrations",
    "source_counts": "numbers of rows",
    "source_indexes": "indexes",
    "source_mapping": "the mapping",
    "tombstones": "digests of what is erased",
}

# Where ids are that the marketplace gave: what it shows no more is found here. Kind → (table, expression) of ours.
KNOWN: dict[str, tuple[tuple[str, str], ...]] = {
    "person": (
        ("exposures", "client_id"),
        ("deliveries", "recipient_id"),
        ("outbox", "recipient_id"),
        ("told", "recipient_id"),
        ("equity_history", "lawyer_id"),
        ("lawyer_accounts", "lawyer_id"),
        ("lawyer_availability", "lawyer_id"),
        ("lawyer_evidence", "lawyer_id"),
        ("lawyer_momentum", "lawyer_id"),
        ("lawyer_subarea_evidence", "lawyer_id"),
        ("experiment_arms", "client_id"),
    ),
    "case": (
        ("triage", "case_id"),
        ("triage_failures", "case_id"),
        ("matching_failures", "case_id"),
        ("case_waits", "case_id"),
        ("case_duplicates", "case_id"),
        ("case_duplicates", "of_case_id"),
        ("matchings", "case_id"),
        ("candidate_sets", "case_id"),
        ("exposures", "case_id"),
        ("experiment_arms", "case_id"),
    ),
    "contract": (
        ("contract_requests", "contract_id"),
        ("contract_documents", "contract_id"),
        ("contract_events", "contract_id"),
    ),
    "review": (("review_sentiment", "review_id"),),
}
