    SELECT lawyer_id, count(*) AS contracts FROM contracts WHERE status IN ('pending-signature', 'active')
    GROUP BY lawyer_id
