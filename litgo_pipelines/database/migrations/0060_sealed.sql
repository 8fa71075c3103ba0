-- 'sealed': a person said which file a version is that was registered before entries named one. It changes no stage.
ALTER TABLE litgo.model_ledger
    DROP CONSTRAINT model_ledger_transition_check,
    ADD CONSTRAINT model_ledger_transition_check CHECK (transition IN (
        'candidate', 'challenger', 'champion', 'archived', 'rolled_back', 'freeze_lifted', 'sealed', 'rejected'));
