-- Areas of law, registration numbers and years of practice, as more people write them. The indexes with the old answers
-- are made anew after the migrations (marketplace/indexes.py).
DO $$
DECLARE stale regclass;
BEGIN
    FOR stale IN SELECT indexrelid::regclass FROM pg_index
                 WHERE pg_get_indexdef(indexrelid) ~ 'litgo\.(area_keys|oab_key)\(' LOOP
        EXECUTE 'DROP INDEX ' || stale;
    END LOOP;
END $$;

-- As before; also without «Dto. de», «Derecho», «Causas», «Ação de», «Lei», and what names the lawyer in Spanish.
CREATE OR REPLACE FUNCTION litgo.area_key(area text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(regexp_replace(
    btrim(regexp_replace(
        litgo.folded(replace(regexp_replace(normalize(regexp_replace(area, '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g'), NFKC),
                                            '([[:lower:]])([[:upper:]])', '\1 \2', 'g'), 'ı', 'i')),
        '[^a-z0-9]+', ' ', 'g')),
    '^((direitos?|derecho|dto|dro|d|dir|advocacia|advogad[oa]( [oa])?|abogad[oa]|area|ramo|materia|vara|especialista|atuacao|acao|acoes'
    '|causas?|casos?|processos?|questao|questoes|assuntos?|problemas?|demandas?|leis?)'
    '( d[aeo]s?| del| de la| em| en| com| sobre)? )+', ''),
    '(?<=[a-z]) (law|laws|attorney|lawyer)$', '');

-- As before; also «Família ou Civil», «Familia y Penal», a line for each, arrows and bullets.
CREATE OR REPLACE FUNCTION litgo.area_parts(area text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(
    SELECT litgo.area_key(part)
    FROM regexp_split_to_table(left(area, 200), '[/,;:&|+()\[\]–—>→•·\n]|\s-\s|\s+(?:e|ou|y|and|or)\s+', 'i')
         WITH ORDINALITY AS p (part, place)
    WHERE litgo.area_key(part) <> '' ORDER BY place);

-- The words there are, by their new keys.
INSERT INTO litgo.area_words (key, area) SELECT DISTINCT ON (litgo.area_key(key)) litgo.area_key(key), area
FROM litgo.area_words WHERE key <> litgo.area_key(key) ORDER BY litgo.area_key(key), key
ON CONFLICT (key) DO NOTHING;
DELETE FROM litgo.area_words WHERE key <> litgo.area_key(key);
INSERT INTO litgo.subarea_words (area, key, subarea)
SELECT DISTINCT ON (area, litgo.area_key(subarea)) area, litgo.area_key(subarea), subarea
FROM litgo.subarea_words WHERE key <> litgo.area_key(subarea) ORDER BY area, litgo.area_key(subarea), subarea
ON CONFLICT (area, key) DO NOTHING;
DELETE FROM litgo.subarea_words WHERE key <> litgo.area_key(subarea);
INSERT INTO litgo.area_words (key, area)
SELECT DISTINCT litgo.area_key(word), area
FROM (VALUES
    ('Trabalhista', 'trabalhador,trabalhadores,laboralista,empregatício,demissão,FGTS,verbas rescisórias,despido,trabajo,jornada de trabalho'),
    ('Consumidor', 'consumidora,consumista,consumerismo,compras online,produto,produtos'),
    ('Família', 'guarda dos filhos,pensão,pensões,partilha,união estável,casamento,matrimonial,hijos,child custody,herencia,sucesiones'
                ',testamento,testamentos,inheritance,probate,adoção,paternidade'),
    ('Civil', 'cívil,dano moral,contrato,civilistas'),
    ('Previdenciário', 'seguridad social,seguro social,previsional,aposentar,auxílio doença,pension'),
    ('Criminal', 'criminais,penais,crimes e contravenções,delitos,delito,criminalística'),
    ('Tributário', 'tributação,tributarios,fiscais,tributária,impuestos,dívida ativa'),
    ('Empresarial', 'mercantil,societaria,business law,empresário,startups,fusões e aquisições'),
    ('Imobiliário', 'inmobiliario,imobiliárias,housing,tenant,landlord,alquiler,aluguéis,condomínios,condominial'),
    ('Digital', 'direito cibernético,cibernético,proteção de dados pessoais,tecnologia da informação,TI,redes sociais')
) AS known (area, words), unnest(string_to_array(words, ',')) AS word
ON CONFLICT (key) DO NOTHING;

-- What is no choice: as before, and what more people say of it.
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
        '|(nem|tbm|tambem|tb)( nao)? sei( .*)?|n(ao)? (tenho nocao|aplicavel|consta|(se )?enquadra|esta na lista)( .*)?'
        '|(voces?|vcs?)( que)? (decid[ae]m?|escolh[ae]m?|sabem?)|me (ajud[ae]m?|indiquem?|orient[ae]m?)( .*(escolher|definir))?'
        '|outr[oa]s? qual|(ainda nao (foi )?|a ser )definid[oa]|indeterminad[oa]|qqr( .*)?|sem (area definida|info(rmac(ao|oes))?)'
        '|direito|juridic[oa]s?|advogad[oa]s?|ajuda( juridica)?|preciso de (um |uma )?(advogad[oa]|ajuda)|area( d[eo] direito)?'
        '|escolher|selecionar|mais de uma( area)?|multidisciplinar|assuntos gerais|generalista|clinico geral|em analise'
        '|aguardando( .*)?|pendente de .*|testes?|asdf[a-z]*|ok|n|n ?i|nsa|s ?i'
        '|no (lo )?se|no (aplica|estoy segur[oa]|tengo idea)|otr[oa]s?( (area|asunto|tema|caso|tipo|materia|opcion)s?)?|ningun[oa]?( .*)?'
        '|cualquiera?( .*)?|sin (definir|area|preferencia|informacion)|seleccion[ae]r?( .*)?'
        '|not (applicable|specified)|unspecified|other please specify|idk|dunno|tba'
        '|object object|string|default|misc(ellaneous)?|(i )?(don t|do not|dont) know|not sure|unsure|no idea|[0-9 ]+|'
        ')$'
    ) THEN NULL
    ELSE value
END;

-- As before; «123,456», «123-456» and «123'456» are one number, a letter may stand before it or in quotation marks, a
-- trainee is one without its letter too, and São-Paulo is a state.
CREATE OR REPLACE FUNCTION litgo.oab_key_read(number text) RETURNS text
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
        nullif(ltrim(regexp_replace(substring(told.text FROM '\d{1,3}(?:[ ,''’-]\d{3})+(?!\d)|\d+(?:\.\d+)*'), '[^0-9]', '', 'g'), '0'), '')
        || coalesce(substring(told.text FROM
            '^\D*(?:\d{1,3}(?:[ ,''’-]\d{3})+(?!\d)|\d+(?:\.\d+)*)(?:[-/ ]{1,3}[A-Z]{2}(?= ?[-/.]))?'
            '(?: ?[-/.\u2013\u2014"''’“”]+ ?| (?=["''’“”]?[A-Z]["''’“”]? ?(?:$|/)))?([A-FNPS])(?![A-Z0-9]|\. ?[A-Z])'),
            substring(told.text FROM '(?:^|[-/ ])([ABE])-?\d'), CASE WHEN told.text ~ '\mESTAGIARI[OA]\M' THEN 'E' END, '')
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
             WHERE CASE WHEN strpos(translate(told.text, '-_', '  '), name) > 0 THEN translate(told.text, '-_', '  ') ~ ('\m' || name || '\M') END ORDER BY length(name) DESC LIMIT 1),
            '')
        END
    FROM (SELECT regexp_replace(regexp_replace(litgo.capitals(litgo.folded(normalize(
                     regexp_replace(left(number, 100), '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g'), NFKC))),
                     '(O|\m0)\.?A\.?B\.?', ' ', 'g'), '\m([A-Z])\.([A-Z])(\.|\M)', '\1\2 ', 'g') AS text) AS told
);

-- Years of practice as of a day: a time, as `stated_years` reads it, or the year it began: «desde 1998», «1998 a 2010». Since
-- an age is neither.
CREATE FUNCTION litgo.stated_years(stated text, as_of date) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE WHEN told.text !~ '\mdesde (os|as|mis|meus) \d' THEN coalesce(
        CASE WHEN told.years IS NULL OR told.text ~ '\d\s*a\M|\m(anos?|mes(es)?|decadas?|years?)\M' THEN
            (SELECT n FROM litgo.stated_years(stated) n WHERE told.years IS NULL OR n <= 80) END,
        coalesce(told.years[2]::int, extract(year FROM as_of)) - told.years[1]::int)
    END
    FROM (SELECT text, regexp_match(text, '\m((?:19|20)\d\d)\M(?:\s*(?:-|–|a|ate|to)\s*\m((?:19|20)\d\d)\M)?') AS years
          FROM litgo.folded(normalize(stated, NFKC)) AS text) AS told
);
