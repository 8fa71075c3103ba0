-- What stands for each index that our statements want on the marketplace's tables: one of ours, or one of theirs.
CREATE TABLE litgo.source_indexes (
    name text PRIMARY KEY,                  -- as in marketplace/indexes.sql
    wanted_sha256 text NOT NULL,            -- of indexes.sql as a whole: other wishes mean another look
    index_oid oid,                          -- null: the mapping allows none
    definition text,
    reason text                             -- why there is none
);
