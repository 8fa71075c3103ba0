-- A text that was edited after its triage is read once more. Its length tells: to compare the words themselves, every look
-- would read the texts of all open cases.
ALTER TABLE litgo.triage ADD COLUMN text_bytes bigint;
COMMENT ON COLUMN litgo.triage.text_bytes IS 'of title and description as they were read; null: of before this was kept';
