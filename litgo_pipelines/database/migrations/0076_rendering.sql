-- What a version makes of the packaged mappings, as a hash: views that another version made are made anew by `litgo migrate`.
ALTER TABLE litgo.source_mapping ADD COLUMN rendering_sha256 text NOT NULL DEFAULT '';
