-- Present only where `litgo migrate` created the marketplace tables itself; simulated_at says who filled them.
-- The simulation refuses to write to a marketplace without this row, or to one it did not fill.
CREATE TABLE litgo.own_marketplace (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    created_at timestamptz NOT NULL DEFAULT now(),
    simulated_at timestamptz,
    simulation jsonb                        -- seed and sizes
);
