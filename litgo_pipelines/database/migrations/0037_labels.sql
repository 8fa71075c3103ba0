-- Names that may stand in labels, metadata and messages: those of the taxonomy, never a text of the marketplace's own.
CREATE FUNCTION litgo.area_label(word text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN coalesce((SELECT w.area FROM litgo.area_words w WHERE w.key = litgo.area_key(word)), 'outra');

-- The taxonomy's subareas (intake/taxonomy.csv; a test holds them against each other).
CREATE TABLE litgo.subarea_words (
    area text NOT NULL,
    key text NOT NULL CHECK (key = litgo.area_key(subarea)),
    subarea text NOT NULL,
    PRIMARY KEY (area, key)
);
INSERT INTO litgo.subarea_words (area, key, subarea)
SELECT area, litgo.area_key(subarea), subarea
FROM (VALUES
    ('Trabalhista', 'Rescisão,Horas extras,Assédio moral,Acidente de trabalho'),
    ('Consumidor', 'Cobrança indevida,Produto com defeito,Negativação indevida,Plano de saúde'),
    ('Família', 'Divórcio,Pensão alimentícia,Guarda,Inventário'),
    ('Civil', 'Danos morais,Contratos,Acidente de trânsito,Cobrança'),
    ('Previdenciário', 'Aposentadoria,Auxílio-doença,BPC/LOAS,Pensão por morte'),
    ('Criminal', 'Defesa criminal,Violência doméstica,Crimes contra a honra,Execução penal'),
    ('Tributário', 'Execução fiscal,Restituição,Planejamento tributário'),
    ('Empresarial', 'Societário,Recuperação judicial,Contratos empresariais'),
    ('Imobiliário', 'Locação,Usucapião,Compra e venda,Condomínio'),
    ('Digital', 'Proteção de dados,Golpe on-line,Remoção de conteúdo')
) AS known (area, subareas), unnest(string_to_array(subareas, ',')) AS subarea;

-- Null for what the area does not have.
CREATE FUNCTION litgo.subarea_label(area text, word text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN (SELECT s.subarea FROM litgo.subarea_words s
        WHERE s.area = litgo.area_label(subarea_label.area) AND s.key = litgo.area_key(word));

-- Of a pool's name, `area · state`; ?? stands for what is not known.
CREATE FUNCTION litgo.pool_label(pool text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN CASE WHEN pool LIKE '?? · __' THEN pool ELSE litgo.area_label(left(pool, -5)) || right(pool, 5) END;
