-- The training rows in the order of the file: cases by time, lawyers of a case by the rank they were shown at.
-- One sort serves the rank, the case numbers and the final order.
WITH shown AS (
    -- The rank counts every offer of the case, also those that cannot be used.
    SELECT
        *,
        row_number() OVER (
            PARTITION BY case_created_at, case_id ORDER BY raw_score DESC NULLS LAST, lawyer_id
        ) AS position
    FROM judged_offers
    WHERE sent_at <= %(as_of)s
),
numbered AS (
    SELECT *, dense_rank() OVER (ORDER BY case_created_at, case_id) AS case_number
    FROM shown
    WHERE excluded IS NULL
)
SELECT
    case_id,
    lawyer_id,
    {features},
    label,
    position,
    CASE WHEN case_number <= %(training_cases)s THEN 'train' ELSE 'holdout' END AS split,
    case_created_at,
    sent_at AS offered_at,
    logged_at AS features_logged_at,
    label_at,
    area,
    coords[0] AS lng,
    coords[1] AS lat,
    coalesce(new_lawyer, false) AS new_lawyer
FROM numbered
ORDER BY case_created_at, case_id, raw_score DESC NULLS LAST, lawyer_id
