-- The marketplace's own tables, with the columns the pipelines read (domain: lawyer-client marketplace).
-- Run by `litgo migrate` only where no marketplace exists: production brings its own.

CREATE TABLE public.profiles (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text,
    full_name text,
    push_token text,
    ai_consent boolean,                     -- null: not asked, which means no
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.lawyers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    oab_number text,
    primary_area text,
    tags_expertise text[] NOT NULL DEFAULT '{}',
    geo_latlon point,                       -- (longitude, latitude)
    lat numeric,
    lng numeric,
    is_available boolean NOT NULL DEFAULT true,
    is_approved boolean NOT NULL DEFAULT true,
    status text NOT NULL DEFAULT 'active',
    rating numeric,
    review_count int NOT NULL DEFAULT 0,
    kpi jsonb,
    kpi_subarea jsonb,
    kpi_softskill real,
    curriculo_json jsonb,
    max_concurrent_cases int,
    oab_inscription_date date,
    cases_30d int,
    capacidade_mensal int,
    last_offered_at timestamptz,
    equity_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.cases (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id uuid NOT NULL REFERENCES public.profiles,
    title text,
    description text,
    area text,
    subarea text,
    urgency_h int,
    complexity text CHECK (complexity IN ('LOW', 'MEDIUM', 'HIGH')),
    coords point,                           -- (longitude, latitude)
    lat numeric,
    lng numeric,
    status text NOT NULL DEFAULT 'pending_assignment'
        CHECK (status IN ('pending_assignment', 'assigned', 'in_progress', 'closed', 'cancelled')),
    summary_embedding text,                 -- JSON array: works with and without pgvector
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.case_matches (
    case_id uuid NOT NULL REFERENCES public.cases,
    lawyer_id uuid NOT NULL REFERENCES public.lawyers,
    fair_score numeric,
    equity_score numeric,
    raw_score numeric,
    features jsonb,
    breakdown jsonb,
    weights_used jsonb,
    preset_used text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (case_id, lawyer_id)
);

CREATE TABLE public.offers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    case_id uuid NOT NULL REFERENCES public.cases,
    lawyer_id uuid NOT NULL REFERENCES public.lawyers,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'interested', 'declined', 'expired', 'closed')),
    sent_at timestamptz NOT NULL DEFAULT now(),
    responded_at timestamptz,
    expires_at timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    fair_score numeric,
    raw_score numeric,
    equity_weight numeric,
    last_offered_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (case_id, lawyer_id)
);
CREATE INDEX offers_lawyer_sent ON public.offers (lawyer_id, sent_at);

CREATE TABLE public.contracts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    case_id uuid NOT NULL REFERENCES public.cases,
    lawyer_id uuid NOT NULL REFERENCES public.lawyers,
    client_id uuid NOT NULL REFERENCES public.profiles,
    status text NOT NULL DEFAULT 'pending-signature'
        CHECK (status IN ('pending-signature', 'active', 'closed', 'canceled')),
    fee_model jsonb NOT NULL DEFAULT '{}',
    signed_client timestamptz,
    signed_lawyer timestamptz,
    doc_url text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX contracts_case ON public.contracts (case_id);
CREATE INDEX contracts_lawyer_created ON public.contracts (lawyer_id, created_at);
CREATE UNIQUE INDEX contracts_one_open_per_case ON public.contracts (case_id)
    WHERE status IN ('pending-signature', 'active');

CREATE TABLE public.reviews (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    contract_id uuid NOT NULL UNIQUE REFERENCES public.contracts,
    lawyer_id uuid NOT NULL REFERENCES public.lawyers,
    client_id uuid NOT NULL REFERENCES public.profiles,
    rating int NOT NULL CHECK (rating BETWEEN 1 AND 5),
    comment text,
    outcome text CHECK (outcome IN ('won', 'lost', 'settled', 'ongoing')),
    communication_rating int,
    expertise_rating int,
    timeliness_rating int,
    would_recommend boolean,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reviews_created ON public.reviews (created_at);
