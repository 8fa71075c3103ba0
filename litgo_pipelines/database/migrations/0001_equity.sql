-- One row a lawyer and night: what the night's run computed, as of the night's instant.
CREATE TABLE litgo.equity_history (
    night date NOT NULL,                    -- partition key: the day whose 02:00-02:00 window ended
    lawyer_id uuid NOT NULL,
    as_of timestamptz NOT NULL,
    cases_30d int NOT NULL,
    capacidade_mensal int NOT NULL CHECK (capacidade_mensal > 0),
    last_offered_at timestamptz,
    offers_30d int NOT NULL,
    load double precision NOT NULL,         -- cases_30d / capacidade_mensal
    PRIMARY KEY (night, lawyer_id)
);

-- One row a night: how evenly offers were spread over the 30 days before it.
CREATE TABLE litgo.offer_distribution (
    night date PRIMARY KEY,
    as_of timestamptz NOT NULL,
    lawyers int NOT NULL,                   -- eligible for a case and active > 15 % of the window
    offers bigint NOT NULL,
    cases bigint NOT NULL,
    gini double precision,                  -- null: nobody was eligible
    coverage double precision,
    coverage_bound double precision,
    spread_points double precision,         -- worst pool, P95 - P5 of utilisation, in points
    demand_ratio double precision,          -- rho: cases / case capacity of the window
    pools jsonb NOT NULL                    -- per pool: lawyers, offers, gini, coverage, spread_points
);
