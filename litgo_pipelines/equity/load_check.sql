-- What is wrong with the newest night's rows of equity_history.
WITH newest AS (
    SELECT night, max(as_of) AS as_of FROM litgo.equity_history GROUP BY night ORDER BY night DESC LIMIT 1
)
SELECT n.night, count(h.lawyer_id) AS lawyers,
       (SELECT count(*) FROM lawyers l
        WHERE litgo.joined(l.created_at) < n.as_of
          AND NOT EXISTS (SELECT FROM litgo.equity_history x WHERE x.night = n.night AND x.lawyer_id = l.id)) AS missing,
       count(*) FILTER (WHERE h.cases_30d < 0
                           OR abs(h.load - h.cases_30d::float8 / h.capacidade_mensal) > 1e-9) AS wrong,
       count(*) FILTER (WHERE h.last_offered_at >= h.as_of) AS future
FROM newest n JOIN litgo.equity_history h USING (night)
GROUP BY n.night, n.as_of
