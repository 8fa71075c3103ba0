-- Offers nobody answered in time, as of an instant; counted in the same statement.
WITH expired AS (
    UPDATE offers SET status = 'expired' WHERE status = 'pending' AND expires_at <= %(as_of)s RETURNING case_id
),
counted AS (
    INSERT INTO litgo.metric_state AS s (name, labels, value)
    SELECT 'offers_expired_total', '{}', count(*) FROM expired HAVING count(*) > 0
    ON CONFLICT (name, labels) DO UPDATE SET value = s.value + excluded.value
)
SELECT count(*), count(DISTINCT case_id) FROM expired
