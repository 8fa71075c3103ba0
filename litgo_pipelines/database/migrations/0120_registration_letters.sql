-- A letter after the number is part of it: numbers with A (of a further section), B (of who moved from another one) and E
-- (of trainees) are counted apart from those without, so that a trainee may have a lawyer's very number. The index with the
-- old answers is made anew after the migrations (marketplace/indexes.py).
DO $$
DECLARE stale regclass;
BEGIN
    FOR stale IN SELECT indexrelid::regclass FROM pg_index WHERE pg_get_indexdef(indexrelid) ~ 'litgo\.oab_key\(' LOOP
        EXECUTE 'DROP INDEX ' || stale;
    END LOOP;
END $$;

-- As before; a letter counts that stands behind the number, a sign between them or not: 123.456-A. A word of one letter does
-- not («123456 e RJ 98.765»), but at the end or before the state (123456 A/SP).
CREATE OR REPLACE FUNCTION litgo.oab_key(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN told.text ~ '\d[A-Z]+\d|@|://' THEN regexp_replace(told.text, '[^A-Z0-9]', '', 'g')
        WHEN told.text ~ '^\D*\m(CPF|CNPJ|CIC|RG|CEP|CNH|PIS|NIT|TEL|TELEFONE|FONE|CEL|CELULAR|WHATSAPP|PROCESSO|NASC|NASCIMENTO)\M' THEN NULL
        WHEN told.text ~ '^\D*\d{1,2}/\d{1,2}/\d{2}' THEN NULL  -- a date
        WHEN length(ltrim(regexp_replace(
                 substring(told.text FROM CASE WHEN told.text ~ '[A-Z]' THEN '\d+(?: \d{3}(?!\d)|[.-]\d+|\) ?\d+)*' ELSE '.*' END),
                 '[^0-9]', '', 'g'), '0')) > 7 THEN NULL
        ELSE
        nullif(ltrim(regexp_replace(substring(told.text FROM '\d{1,3}(?: \d{3})+(?!\d)|\d+(?:\.\d+)*'), '[^0-9]', '', 'g'), '0'), '')
        || coalesce(substring(told.text FROM
            '^\D*(?:\d{1,3}(?: \d{3})+(?!\d)|\d+(?:\.\d+)*)(?:[-/ ]{1,3}[A-Z]{2}(?= ?[-/.]))?'
            '(?: ?[-/.\u2013\u2014] ?| (?=[A-Z] ?(?:$|/)))?([A-FNPS])(?![A-Z0-9]|\. ?[A-Z])'), '')
        || coalesce(
            substring(told.text
                FROM '(?:^|[^A-Z])(AC|AL|AM|AP|BA|CE|DF|ES|GO|MA|MG|MS|MT|PA|PB|PE|PI|PR|RJ|RN|RO|RR|RS|SC|SE|SP|TO)(?:[^A-Z]|$)'),
            (SELECT uf FROM (VALUES
                ('SAO PAULO', 'SP'), ('RIO DE JANEIRO', 'RJ'), ('MINAS GERAIS', 'MG'), ('ESPIRITO SANTO', 'ES'), ('BAHIA', 'BA'),
                ('PARANA', 'PR'), ('SANTA CATARINA', 'SC'), ('RIO GRANDE DO SUL', 'RS'), ('RIO GRANDE DO NORTE', 'RN'),
                ('PERNAMBUCO', 'PE'), ('CEARA', 'CE'), ('MARANHAO', 'MA'), ('PARAIBA', 'PB'), ('PARA', 'PA'), ('PIAUI', 'PI'),
                ('ALAGOAS', 'AL'), ('SERGIPE', 'SE'), ('GOIAS', 'GO'), ('DISTRITO FEDERAL', 'DF'), ('MATO GROSSO DO SUL', 'MS'),
                ('MATO GROSSO', 'MT'), ('AMAZONAS', 'AM'), ('AMAPA', 'AP'), ('ACRE', 'AC'), ('RONDONIA', 'RO'), ('RORAIMA', 'RR'),
                ('TOCANTINS', 'TO')) AS state (name, uf)
             WHERE told.text ~ ('\m' || name || '\M') ORDER BY length(name) DESC LIMIT 1),
            '')
        END
    FROM (SELECT regexp_replace(regexp_replace(upper(litgo.folded(normalize(
                     regexp_replace(left(number, 100), '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g'), NFKC))),
                     'O\.?A\.?B\.?', ' ', 'g'), '\m([A-Z])\.([A-Z])(\.|\M)', '\1\2 ', 'g') AS text) AS told
);
