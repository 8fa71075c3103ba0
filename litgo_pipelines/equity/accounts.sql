-- Accounts with one registration number, however it is written: one lawyer, who is known by the oldest of them.
WITH account AS MATERIALIZED (
    SELECT id, litgo.joined(created_at) AS created_at, litgo.oab_key(oab_number) AS number FROM lawyers WHERE oab_number <> ''
),
several AS MATERIALIZED (
    SELECT id, first_value(id) OVER (PARTITION BY number ORDER BY created_at, id) AS person
    FROM account WHERE number IN (SELECT number FROM account GROUP BY number HAVING count(*) > 1)
),
gone AS (
    DELETE FROM litgo.lawyer_accounts a WHERE NOT EXISTS (SELECT FROM several s WHERE s.id = a.lawyer_id)
)
INSERT INTO litgo.lawyer_accounts AS a (lawyer_id, person_id)
SELECT id, person FROM several
ON CONFLICT (lawyer_id) DO UPDATE SET person_id = excluded.person_id WHERE a.person_id <> excluded.person_id
