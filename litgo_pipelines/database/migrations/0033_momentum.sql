-- What a lawyer did lately in an area, from events strictly before `as_of` (matching/momentum.py): replaced every night,
-- read by matching, which logs what it used. Columns are the feature contract's; null: nothing is known.
CREATE TABLE litgo.lawyer_momentum (
    lawyer_id uuid NOT NULL,
    area text NOT NULL,                     -- as litgo.area_name says it
    as_of timestamptz NOT NULL,
    accepted_7d double precision,           -- acceptances per offer, by half-life
    accepted_30d double precision,
    accepted_90d double precision,
    contracts_7d double precision,          -- contracts per offer
    contracts_30d double precision,
    contracts_90d double precision,
    idle_days double precision,             -- since the last acceptance or contract
    area_share double precision,            -- of the lawyer's contracts
    price_level double precision,           -- .5: fees as the area's
    PRIMARY KEY (lawyer_id, area)
);
