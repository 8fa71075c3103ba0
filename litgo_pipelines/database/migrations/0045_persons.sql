-- The rights of the people in the data (persons/): what was asked, what is erased, and what an erased id became.

-- Who asked for what, and what came of it. The person stands here as a digest only.
CREATE TABLE litgo.person_requests (
    request_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('export', 'erase')),
    subject bytea NOT NULL CHECK (octet_length(subject) = 32),  -- litgo.subject_digest of the id
    asked_by text NOT NULL CHECK (asked_by <> ''),
    asked_at timestamptz NOT NULL,
    done_at timestamptz,                    -- null: it was cut off, and goes on where it stopped
    removed jsonb NOT NULL DEFAULT '{}'     -- place → rows or files
);
CREATE UNIQUE INDEX person_requests_one_open ON litgo.person_requests (subject) WHERE kind = 'erase' AND done_at IS NULL;

-- What is erased and stays so, also after a backup of before is restored. Digests: of random ids they lead nowhere.
CREATE TABLE litgo.tombstones (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    kind text NOT NULL CHECK (kind IN ('person', 'case', 'contract', 'offer', 'review', 'text', 'pseudonym')),
    erased_at timestamptz NOT NULL
);

-- With its key an id can be recognised in what has to stay; without it nobody can. Deleted after a term (retention/).
CREATE TABLE litgo.pseudonym_keys (
    request_id bigint PRIMARY KEY REFERENCES litgo.person_requests,
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    made_at timestamptz NOT NULL
);

-- Ids we hold rows of that the marketplace shows no more: followed once they were missed on several nights.
CREATE TABLE litgo.missed_subjects (
    kind text NOT NULL CHECK (kind IN ('person', 'case', 'contract', 'review')),
    id uuid NOT NULL,
    first_missed_at timestamptz NOT NULL,
    last_missed_at timestamptz NOT NULL,
    looks int NOT NULL CHECK (looks > 0),
    PRIMARY KEY (kind, id)
);

-- A person of the team says that many are gone rightly: until then deletions are followed, however many.
CREATE TABLE litgo.deletions_confirmed (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    confirmed_by text NOT NULL CHECK (confirmed_by <> ''),
    confirmed_until timestamptz NOT NULL
);

CREATE FUNCTION litgo.subject_digest(id uuid) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sha256(uuid_send(id));

CREATE FUNCTION litgo.pseudonym(key bytea, id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(substring(sha256(key || uuid_send(id)) FROM 1 FOR 16), 'hex')::uuid;

-- What is append-only is changed by litgo.pseudonymise alone, and only in the ids of an erased person.
CREATE OR REPLACE FUNCTION litgo.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME IN ('experiment_arms', 'experiment_outcomes', 'contract_events')
       AND current_setting('litgo.pseudonymising', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'litgo.% is append-only: append a correcting row instead', TG_TABLE_NAME;
END $$;
ALTER TABLE litgo.experiment_outcomes
    DROP CONSTRAINT experiment_outcomes_experiment_client_id_fkey,
    ADD CONSTRAINT experiment_outcomes_experiment_client_id_fkey
        FOREIGN KEY (experiment, client_id) REFERENCES litgo.experiment_arms ON UPDATE CASCADE;

-- Experiments keep their arms and contracts their history, without the people: ids become pseudonyms, words go.
CREATE FUNCTION litgo.pseudonymise(key bytea, persons uuid[], cases uuid[], contracts uuid[])
RETURNS TABLE (place text, changed bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ BEGIN
    PERFORM set_config('litgo.pseudonymising', 'yes', true);
    SELECT count(*) INTO changed FROM litgo.experiment_outcomes o WHERE o.client_id = ANY (persons);
    place := 'experiment_outcomes';
    RETURN NEXT;
    UPDATE litgo.experiment_arms a SET
        client_id = CASE WHEN a.client_id = ANY (persons) THEN litgo.pseudonym(key, a.client_id) ELSE a.client_id END,
        case_id = CASE WHEN a.case_id = ANY (cases) THEN litgo.pseudonym(key, a.case_id) ELSE a.case_id END
    WHERE a.client_id = ANY (persons) OR a.case_id = ANY (cases);
    GET DIAGNOSTICS changed = ROW_COUNT;
    place := 'experiment_arms';
    RETURN NEXT;
    UPDATE litgo.contract_events e SET
        contract_id = litgo.pseudonym(key, e.contract_id),
        actor = CASE WHEN e.actor IN ('docusign', 'pipelines') THEN e.actor ELSE 'a person' END,
        details = jsonb_strip_nulls(jsonb_build_object('signed_at', e.details -> 'signed_at'))
    WHERE e.contract_id = ANY (contracts);
    GET DIAGNOSTICS changed = ROW_COUNT;
    place := 'contract_events';
    RETURN NEXT;
    UPDATE litgo.exposures x SET
        client_id = CASE WHEN x.client_id = ANY (persons) THEN litgo.pseudonym(key, x.client_id) ELSE x.client_id END,
        case_id = CASE WHEN x.case_id = ANY (cases) THEN litgo.pseudonym(key, x.case_id) ELSE x.case_id END
    WHERE x.client_id = ANY (persons) OR x.case_id = ANY (cases);
    GET DIAGNOSTICS changed = ROW_COUNT;
    place := 'exposures';
    RETURN NEXT;
    UPDATE litgo.matching_batches b SET case_ids = ARRAY(
        SELECT CASE WHEN c = ANY (cases) THEN litgo.pseudonym(key, c) ELSE c END
        FROM unnest(b.case_ids) WITH ORDINALITY AS u (c, place) ORDER BY u.place)
    WHERE b.case_ids && cases;
    GET DIAGNOSTICS changed = ROW_COUNT;
    place := 'matching_batches';
    RETURN NEXT;
    PERFORM set_config('litgo.pseudonymising', '', true);
END $$;
REVOKE ALL ON FUNCTION litgo.pseudonymise(bytea, uuid[], uuid[], uuid[]) FROM PUBLIC;
