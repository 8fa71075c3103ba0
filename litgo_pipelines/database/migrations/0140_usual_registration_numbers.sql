-- Registration numbers in their usual forms are read at once: matching reads every lawyer's whenever it begins, which took it
-- half a minute at 100,000 lawyers. The whole reading is for the others. Not STRICT, and without a query: so the
-- planner puts it in place of its call.
CREATE FUNCTION litgo.oab_key_read(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 3000
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
             -- a pattern per state is more than what the server keeps compiled: only of those that are there
             WHERE CASE WHEN strpos(told.text, name) > 0 THEN told.text ~ ('\m' || name || '\M') END ORDER BY length(name) DESC LIMIT 1),
            '')
        END
    FROM (SELECT regexp_replace(regexp_replace(upper(litgo.folded(normalize(
                     regexp_replace(left(number, 100), '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g'), NFKC))),
                     'O\.?A\.?B\.?', ' ', 'g'), '\m([A-Z])\.([A-Z])(\.|\M)', '\1\2 ', 'g') AS text) AS told
);

-- «OAB/SP 123.456», «SP123456», «123456»; «123.456/SP»
CREATE OR REPLACE FUNCTION litgo.oab_key(number text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN number ~ '^(?:(?:OAB[ /-]?)?(?:A[CLMP]|BA|CE|DF|ES|GO|M[AGST]|P[ABEIR]|R[JNORS]|S[CEP]|TO)[ /-]?)?[1-9][0-9]{0,2}[.]?[0-9]{0,3}$'
      OR number ~ '^[1-9][0-9]{0,2}[.]?[0-9]{0,3}[ /-]?(?:A[CLMP]|BA|CE|DF|ES|GO|M[AGST]|P[ABEIR]|R[JNORS]|S[CEP]|TO)$'
    THEN translate(number, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ ./-', '') || right(translate(number, '0123456789 ./-', ''), 2)
    ELSE litgo.oab_key_read(number)
END;
