-- Texts that were edited to another of the same length are seen by their hash, and what waits for a person has one home.
ALTER TABLE litgo.triage ADD COLUMN text_hash bigint;
COMMENT ON COLUMN litgo.triage.text_hash IS 'of title and description as they were read; null: of before this was kept';

CREATE FUNCTION litgo.text_hash(title text, description text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN hashtextextended((coalesce(title, '') || E'\x1e' || coalesce(description, '')) COLLATE "C", 0);

-- Whether a case in review is a person's still, by what its row has now: a choice ends a doubt about the area, and neither
-- one about danger nor a text that nobody has read.
CREATE FUNCTION litgo.needs_person(area text, subarea text, reason text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN litgo.chosen(area) IS NULL OR litgo.chosen(subarea) IS NULL OR coalesce(reason IN ('danger_unsure', 'failed'), false);
