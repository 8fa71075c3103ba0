-- One transition after the entry that is expected to be the newest. No row: another one is, or the key is there already.
INSERT INTO litgo.model_ledger (sequence, transition, transition_key, version, evidence, run_id, actor, reason,
    successor, recorded_at)
SELECT %(expected)s + 1, %(transition)s, %(key)s, %(version)s, %(evidence)s, %(run_id)s, %(actor)s, %(reason)s,
    %(successor)s, coalesce(%(at)s, now())
WHERE (SELECT coalesce(max(sequence), 0) FROM litgo.model_ledger) = %(expected)s
ON CONFLICT DO NOTHING
RETURNING {columns}
