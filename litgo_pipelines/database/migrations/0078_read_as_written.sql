-- Areas of law, what is no choice, registration numbers and figures, as more people write them. The indexes that hold
-- the old answers are made anew after the migrations (marketplace/indexes.py).
DO $$
DECLARE stale regclass;
BEGIN
    FOR stale IN SELECT indexrelid::regclass FROM pg_index
                 WHERE pg_get_indexdef(indexrelid) ~ 'litgo\.(area_keys|oab_key)\(' LOOP
        EXECUTE 'DROP INDEX ' || stale;
    END LOOP;
END $$;

-- As before; also without «Vara de», «Dir.» and their like, full-width letters, words run together, English «law».
CREATE OR REPLACE FUNCTION litgo.area_key(area text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(regexp_replace(
    btrim(regexp_replace(
        litgo.folded(replace(regexp_replace(normalize(regexp_replace(area, '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g'), NFKC),
                                            '([[:lower:]])([[:upper:]])', '\1 \2', 'g'), 'ı', 'i')),
        '[^a-z0-9]+', ' ', 'g')),
    '^((direito|dir|advocacia|advogad[oa]( [oa])?|area|ramo|materia|vara|especialista|atuacao)( d[aeo]s?| em)? )+', ''),
    '(?<=[a-z]) (law|laws|attorney|lawyer)$', '');

-- What a word for several areas names one by one: «Trabalhista / Sindical», «Família (divórcio)», «Civil e Família».
CREATE FUNCTION litgo.area_parts(area text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(
    SELECT litgo.area_key(part)
    FROM regexp_split_to_table(left(area, 200), '[/,;:&|+()\[\]–—]|\s-\s|\s+e\s+|\s+and\s+', 'i') WITH ORDINALITY AS p (part, place)
    WHERE litgo.area_key(part) <> '' ORDER BY place);

CREATE OR REPLACE FUNCTION litgo.area_keys(areas text[], area text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000
RETURN ARRAY(SELECT DISTINCT key
             FROM unnest(array_append(litgo.list(areas), area)) AS name,
                  unnest(array_append(litgo.area_parts(name), litgo.area_key(left(name, 200)))) AS key
             WHERE key <> '');

INSERT INTO litgo.area_words (key, area)
SELECT DISTINCT litgo.area_key(word), area
FROM (VALUES
    ('Trabalhista', 'labor,labour,employment,employment and labor,trab,sindical,CLT,direitos trabalhistas,reclamação trabalhista'),
    ('Consumidor', 'consumer,consumer rights,consumer protection,CDC,código de defesa do consumidor,Procon'),
    ('Família', 'family,family and divorce,divorce,divórcios,fam,separação,inventários,herança,sucessão,alimentos'),
    ('Civil', 'civil rights,civil litigation,cobranças,indenização,indenizações,responsabilidade'),
    ('Previdenciário', 'social security,prev,benefícios,benefício do INSS,aposentadorias,LOAS,BPC'),
    ('Criminal', 'crimen,criminal defense,criminal defence,penalista,Maria da Penha'),
    ('Tributário', 'tax,taxation,taxes,trib,imposto'),
    ('Empresarial', 'corporate,commercial,bankruptcy,falência,falências,recuperação de empresas'),
    ('Imobiliário', 'real estate,property,locações,inquilinato,aluguel,despejo'),
    ('Digital', 'cyber,internet and technology,technology,privacy,data protection,crimes digitais,golpe,golpes,golpe do pix')
) AS known (area, words), unnest(string_to_array(words, ',')) AS word
ON CONFLICT (key) DO NOTHING;
-- Who names a subarea has named its area.
INSERT INTO litgo.area_words (key, area) SELECT DISTINCT ON (key) key, area FROM litgo.subarea_words ORDER BY key, area
ON CONFLICT (key) DO NOTHING;

-- The whole word first, else the first of its parts that is known.
CREATE OR REPLACE FUNCTION litgo.area_name(word text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN coalesce(
    (SELECT w.area FROM litgo.area_words w WHERE w.key = litgo.area_key(word)),
    (SELECT w.area FROM unnest(litgo.area_parts(word)) WITH ORDINALITY AS p (key, place)
     JOIN litgo.area_words w USING (key) ORDER BY p.place LIMIT 1),
    btrim(word));
CREATE OR REPLACE FUNCTION litgo.area_label(word text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN coalesce((SELECT w.area FROM litgo.area_words w WHERE w.area = litgo.area_name(word) LIMIT 1), 'outra');

CREATE OR REPLACE FUNCTION litgo.chosen(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN btrim(regexp_replace(litgo.folded(normalize(value, NFKC)), '[^a-z0-9]+', ' ', 'g')) ~ (
        '^('
        'n(ao)? (sei|tenho certeza|informad[oa]|se aplica|definid[oa]|especificad[oa]|classificad[oa]|listad[oa])( .*)?'
        '|(eu |ainda )+nao sei( .*)?|nao|n ?sei|naosei|n ?s( n ?r)?|sei la( .*)?|(eu )?prefiro nao( .*)?'
        '|(eu )?n(ao)? (tenho (a menor )?ideia|faco( a)?( menor)? ideia|lembro|consigo (identificar|dizer)|encontrei|achei|conheco'
        '|entendo|quero (dizer|informar))( .*)?'
        '|outr[oa]s?( [oa]?s)?( (assunto|area|tema|caso|tipo|materia|opcao|questao|direito|coisa|problema|situacao|motivo)s?( d[eo] .*)?)?'
        '( especifi(que|car))?'
        '|(nenhum|nenhuma)( .*)?|indefinid[oa]|desconhecid[oa]|a (definir|classificar|determinar|combinar|especificar|confirmar)'
        '|em branco|vazi[oa]|pendente|sem (area|opcao|categoria|preferencia|definicao|classificacao|resposta)'
        '|(selecione|escolha|select|choose|please select|please choose|pick)( .*)?|tanto faz|indiferente|qualquer( .*)?'
        '|(direito |clinica )?geral|(divers|vari)[oa]s( areas)?|tod[oa]s( as)?( areas)?|demais( .*)?|area nao (listada|encontrada)'
        '|((tenho|em|na|com) )?duvidas?|n a|na|n ?d|nan|null|none|none of the above|undefined|unknown|others?|any|all|x+|tbd'
        '|object object|string|default|misc(ellaneous)?|(i )?(don t|do not|dont) know|not sure|unsure|no idea|[0-9 ]+|'
        ')$'
    ) THEN NULL
    ELSE value
END;

-- The first number and the state it names first, also spelled out: «OAB - Seccional de São Paulo nº 123.456». What has letters
-- within a number is something else (a UUID, a code): all of it counts, or strangers would be taken for one lawyer.
CREATE OR REPLACE FUNCTION litgo.oab_key(number text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE WHEN told.text ~ '\d[A-Z]+\d' THEN regexp_replace(told.text, '[^A-Z0-9]', '', 'g') ELSE
        nullif(ltrim(regexp_replace(substring(told.text FROM '\d{1,3}(?: \d{3})+(?!\d)|\d+(?:\.\d+)*'), '[^0-9]', '', 'g'), '0'), '')
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

-- As before; also «vinte-e-cinco», «noventa», «2 mil» and full-width digits.
CREATE OR REPLACE FUNCTION litgo.stated_number(stated text) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN found.digits IS NOT NULL AND found.text !~ '(^|[^0-9a-z])-\s*\d' THEN
            replace(CASE WHEN found.digits ~ '^\d{1,3}(\.\d{3})+$' THEN replace(found.digits, '.', '') ELSE found.digits END,
                    ',', '.')::numeric * CASE WHEN found.text ~ '\d\s*mil\M' THEN 1000 ELSE 1 END
        WHEN found.digits IS NULL AND found.text !~ '\m(cem|cento|duzentos|mil)\M' THEN (
            SELECT sum((known.value ->> word)::numeric)
            FROM unnest(found.words) AS word,
                 (VALUES ('{"zero": 0, "nenhum": 0, "nenhuma": 0, "um": 1, "uma": 1, "dois": 2, "duas": 2, "tres": 3, "quatro": 4,
                     "cinco": 5, "seis": 6, "sete": 7, "oito": 8, "nove": 9, "dez": 10, "onze": 11, "doze": 12, "treze": 13,
                     "quatorze": 14, "catorze": 14, "quinze": 15, "dezesseis": 16, "dezasseis": 16, "dezessete": 17,
                     "dezoito": 18, "dezenove": 19, "vinte": 20, "trinta": 30, "quarenta": 40, "cinquenta": 50,
                     "sessenta": 60, "setenta": 70, "oitenta": 80, "noventa": 90}'::jsonb)) AS known (value))
    END
    FROM (
        SELECT told.text,
               (regexp_match(told.text, '\d{1,3}(?:\.\d{3})+|\d{1,9}(?:[.,]\d{1,6})?'))[1] AS digits,
               regexp_match(told.text,
                   '\m(vinte|trinta|quarenta|cinquenta|sessenta|setenta|oitenta|noventa)'
                   '(?:\s+(?:e\s+)?(um|uma|dois|duas|tres|quatro|cinco|seis|sete|oito|nove))?\M'
                   '|\m(dez|onze|doze|treze|[qc]u?atorze|quinze|dez[ea]sseis|dezessete|dezoito|dezenove|zero|nenhuma?|uma?|dois|duas|tres'
                   '|quatro|cinco|seis|sete|oito|nove)\M') AS words
        FROM (SELECT regexp_replace(litgo.folded(normalize(translate(stated, '½¼¾', ''), NFKC)), '(?<=[a-z])-(?=[a-z])', ' ', 'g') AS text) AS told
    ) AS found
);

-- A time in years: «18 meses», «2 anos e 6 meses», «um ano e meio», «uma década», «desde 2009 (15 anos)»; of «10 a 15» the
-- first.
CREATE FUNCTION litgo.stated_years(stated text) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE
        WHEN read.text ~ '\d\s*(a|-|ou|/)\s*\d' THEN litgo.stated_number(read.text)
        WHEN read.years IS NOT NULL OR read.months IS NOT NULL THEN
            coalesce(read.years, 0) + coalesce(read.months, 0) / 12 + CASE WHEN read.text ~ '\manos?\s+e\s+mei[oa]\M' THEN 0.5 ELSE 0 END
        WHEN read.text ~ '\mmeio\s+ano\M' THEN 0.5
        WHEN read.text ~ '\mmeia\s+decada\M' THEN 5
        WHEN read.text ~ '\mdecadas?\M' THEN litgo.stated_number(read.text) * 10
        ELSE litgo.stated_number(read.text)
    END
    FROM (
        SELECT folded.text,
               litgo.stated_number((regexp_match(folded.text,
                   '(-?\s*\d+(?:[.,]\d+)?|[a-z]+(?: e [a-z]+)?)[\s)]*(?:\(\d+\)\s*)?anos?\M'))[1]) AS years,
               litgo.stated_number((regexp_match(folded.text, '(\d+(?:[.,]\d+)?|[a-z]+)[\s)]*(?:\(\d+\)\s*)?mes(?:es)?\M'))[1]) AS months
        FROM (SELECT regexp_replace(litgo.folded(normalize(translate(stated, '½¼¾', ''), NFKC)), '(?<=[a-z])-(?=[a-z])', ' ', 'g') AS text)
            AS folded
    ) AS read
);
