-- What a provider answers is that it accepted a message, not that it arrived.
ALTER TABLE litgo.outbox DROP CONSTRAINT outbox_status_check;
UPDATE litgo.outbox SET status = 'accepted' WHERE status = 'sent';
ALTER TABLE litgo.outbox ADD CONSTRAINT outbox_status_check
    CHECK (status IN ('pending', 'accepted', 'merged', 'superseded', 'dead'));
ALTER TABLE litgo.deliveries DROP CONSTRAINT deliveries_status_check;
DROP INDEX litgo.deliveries_finished;
UPDATE litgo.deliveries SET status = 'accepted' WHERE status = 'sent';
ALTER TABLE litgo.deliveries ADD CONSTRAINT deliveries_status_check
    CHECK (status IN ('open', 'accepted', 'empty', 'dead'));
CREATE INDEX deliveries_finished ON litgo.deliveries (recipient_id, finished_at) WHERE status = 'accepted';
INSERT INTO litgo.metric_state (name, labels, value)
SELECT name, labels || '{"status": "accepted"}', value FROM litgo.metric_state
WHERE name = 'notifications_sent_total' AND labels ->> 'status' = 'sent'
ON CONFLICT (name, labels) DO UPDATE SET value = litgo.metric_state.value + excluded.value;
DELETE FROM litgo.metric_state WHERE name = 'notifications_sent_total' AND labels ->> 'status' = 'sent';

-- A push key is used once per subscription: OneSignal repeats its first answer to the same one.
ALTER TABLE litgo.deliveries ADD COLUMN push_key uuid;  -- null: the delivery's id

-- Addresses SendGrid does not deliver to, as digests: of the address in lower case.
CREATE TABLE litgo.mail_suppressions (
    list text NOT NULL CHECK (list IN ('bounces', 'blocks', 'invalid_emails', 'spam_reports')),
    digest text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (digest, list)
);
CREATE FUNCTION litgo.address_digest(address text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(sha256(convert_to(lower(btrim(address)), 'UTF8')), 'hex');

-- A figure as people write it: 12, «12 anos», «mais de doze», «vinte e cinco anos», «1.200». Null where there is none.
CREATE FUNCTION litgo.stated_number(stated text) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN found.digits IS NOT NULL AND found.text !~ '(^|[^0-9a-z])-\s*\d' THEN
            replace(CASE WHEN found.digits ~ '^\d{1,3}(\.\d{3})+$' THEN replace(found.digits, '.', '') ELSE found.digits END,
                    ',', '.')::numeric
        WHEN found.digits IS NULL AND found.text !~ '\m(cem|cento|duzentos|mil)\M' THEN (
            SELECT sum((known.value ->> word)::numeric)
            FROM unnest(found.words) AS word,
                 (VALUES ('{"zero": 0, "nenhum": 0, "nenhuma": 0, "um": 1, "uma": 1, "dois": 2, "duas": 2, "tres": 3, "quatro": 4,
                     "cinco": 5, "seis": 6, "sete": 7, "oito": 8, "nove": 9, "dez": 10, "onze": 11, "doze": 12, "treze": 13,
                     "quatorze": 14, "catorze": 14, "quinze": 15, "dezesseis": 16, "dezasseis": 16, "dezessete": 17,
                     "dezoito": 18, "dezenove": 19, "vinte": 20, "trinta": 30, "quarenta": 40, "cinquenta": 50,
                     "sessenta": 60, "setenta": 70, "oitenta": 80}'::jsonb)) AS known (value))
    END
    FROM (
        SELECT litgo.folded(stated) AS text,
               (regexp_match(litgo.folded(stated), '\d{1,3}(?:\.\d{3})+|\d{1,9}(?:[.,]\d{1,6})?'))[1] AS digits,
               regexp_match(litgo.folded(stated),
                   '\m(vinte|trinta|quarenta|cinquenta|sessenta|setenta|oitenta)(?:\s+e\s+(um|uma|dois|duas|tres|quatro|cinco|seis|sete|oito|nove))?\M'
                   '|\m(dez|onze|doze|treze|[qc]u?atorze|quinze|dez[ea]sseis|dezessete|dezoito|dezenove|zero|nenhuma?|uma?|dois|duas|tres|quatro|cinco|seis|sete|oito|nove)\M') AS words
    ) AS found
);
