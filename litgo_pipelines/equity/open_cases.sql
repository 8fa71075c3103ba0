    -- of all accounts of a lawyer, for each of them
    SELECT coalesce(other.lawyer_id, c.lawyer_id) AS lawyer_id, count(*) AS contracts
    FROM contracts c
    LEFT JOIN litgo.lawyer_accounts mine ON mine.lawyer_id = c.lawyer_id
    LEFT JOIN litgo.lawyer_accounts other ON other.person_id = mine.person_id
    WHERE c.status IN ('pending-signature', 'active')
    GROUP BY 1
