-- Experiments in layers (experiments/layers.py): one decision each, one running experiment each.
ALTER TABLE litgo.experiments
    ADD COLUMN layer text NOT NULL DEFAULT 'ranking' CHECK (layer IN ('ranking', 'offers')),
    ALTER COLUMN treatment_version DROP NOT NULL,
    ADD CHECK ((layer = 'ranking') = (treatment_version IS NOT NULL));
COMMENT ON COLUMN litgo.experiments.layer IS 'which decision it varies: who is offered (ranking), or how long offers wait (offers)';
