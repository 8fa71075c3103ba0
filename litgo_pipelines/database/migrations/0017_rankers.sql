-- Lambda belongs to what ranks: scores of two models are not on one scale, so that the same lambda weighs load differently.
ALTER TABLE litgo.allocation_parameters ADD COLUMN model_version text;    -- null: the hand weights
ALTER TABLE litgo.allocation_parameters DROP CONSTRAINT allocation_parameters_as_of_key;
ALTER TABLE litgo.allocation_parameters
    ADD CONSTRAINT allocation_parameters_once UNIQUE NULLS NOT DISTINCT (as_of, model_version);
-- What was calibrated so far was for the model its replay names.
UPDATE litgo.allocation_parameters SET model_version = evidence ->> 'ranker' WHERE evidence ->> 'ranker' <> 'hand_weights';

-- Seconds that scoring a case's lawyers took; null: before it was measured.
ALTER TABLE litgo.exposures ADD COLUMN ranking_seconds double precision;
