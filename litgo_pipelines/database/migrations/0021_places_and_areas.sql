-- Whether a point (longitude, latitude) is in Brazil or within some 80 km of it: the border and the coast, widened, and
-- the islands of Fernando de Noronha with Rocas, Trindade with Martim Vaz, São Pedro e São Paulo. False for NaN and ∞.
CREATE FUNCTION litgo.in_brazil(place point) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN place[0] BETWEEN -75 AND -28 AND place[1] BETWEEN -35 AND 6.5 AND (
        '((-53.5,-34.51),(-54.34,-33.5),(-54.31,-32.6),(-58.32,-30.5),(-58.25,-29.8),(-56.9,-28.4),(-54.39,-26.5),
         (-55.28,-26.1),(-55.12,-24.8),(-56.01,-24.4),(-56.4,-22.92),(-58.1,-22.82),(-58.6,-22.44),(-58.91,-20.1),
         (-58.29,-18.2),(-59.2,-17.03),(-60.76,-16.7),(-61.29,-15.2),(-61.22,-14.3),(-64.8,-13.03),(-66.07,-11.9),
         (-66.2,-10.65),(-68.1,-11.74),(-70.9,-11.67),(-71.3,-10.88),(-72.4,-10.77),(-73.75,-10),(-74.73,-7.6),
         (-73.4,-4.72),(-70.51,-3.4),(-70.18,-1.2),(-70.74,-0.4),(-70.76,0.6),(-70.3,2.29),(-67.4,2.77),(-66,1.51),
         (-64.91,2.1),(-65.55,3.9),(-65.3,4.63),(-64.7,4.9),(-63.3,4.62),(-62.3,4.88),(-61.5,5.17),(-61.1,5.85),
         (-60.2,5.99),(-59.4,5.49),(-58.83,4.2),(-59.18,2.9),(-58.8,2.12),(-57.5,2.68),(-56.8,2.63),(-56.1,3.25),
         (-53.2,3),(-52.17,4.7),(-51,4.88),(-49.9,2.5),(-49.27,2),(-49.33,0.6),(-44.6,-0.87),(-43.8,-1.71),
         (-39.6,-2.23),(-36.8,-4.18),(-35.4,-4.43),(-34.74,-4.9),(-33.99,-7.2),(-34.5,-9.4),(-38.15,-13.8),
         (-38.55,-18.1),(-39.07,-19.9),(-40.05,-21.2),(-40.36,-22.4),(-41.7,-23.66),(-44.3,-24.04),(-47.19,-25.5),
         (-47.8,-26.25),(-47.74,-27.3),(-48.27,-29.1),(-50.15,-31.5),(-51.69,-32.8),(-52.16,-33.7))'::polygon @> place
    OR '<(-32.9,-3.85),1.2>'::circle @> place OR '<(-29.1,-20.5),0.8>'::circle @> place
    OR '<(-29.35,0.92),0.5>'::circle @> place
);

-- The place that is meant. A point outside Brazil that lies in it once latitude and longitude change places can only be
-- meant so: as it stands it is in the far south of the Atlantic. Everything else outside, (0, 0), NaN and ∞ are no place.
CREATE FUNCTION litgo.placed(place point) RETURNS point
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN litgo.in_brazil(place) THEN place
            WHEN litgo.in_brazil(point(place[1], place[0])) THEN point(place[1], place[0]) END;

-- How an area of law is compared: without case, accents (whichever way they are encoded), blanks around, signs, and a
-- «Direito de» before it.
CREATE FUNCTION litgo.area_key(area text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(
    btrim(regexp_replace(litgo.folded(regexp_replace(area, '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g')), '[^a-z0-9]+', ' ', 'g')),
    '^((direito|advocacia|advogad[oa]|area|ramo|materia)( d[aeo]s?| em)? )+', '');

-- The keys of what a lawyer works in.
CREATE FUNCTION litgo.area_keys(areas text[], area text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000
RETURN ARRAY(SELECT DISTINCT litgo.area_key(name) FROM unnest(array_append(areas, area)) AS name
             WHERE litgo.area_key(name) <> '');

-- Words for areas of law. Data: a row more and a further word is understood.
CREATE TABLE litgo.area_words (
    key text PRIMARY KEY CHECK (key = litgo.area_key(key) AND key <> ''),
    area text NOT NULL
);
INSERT INTO litgo.area_words (key, area)
SELECT DISTINCT litgo.area_key(word), area
FROM (VALUES
    ('Trabalhista', 'trabalhista,trabalho,trabalhistas,laboral,processo do trabalho,relações de trabalho,trabalhista e sindical'),
    ('Consumidor', 'consumidor,consumidores,consumo,consumerista,relações de consumo,defesa do consumidor'),
    ('Família', 'família,famílias,familiar,familiarista,família e sucessões,sucessões,sucessório'),
    ('Civil', 'civil,cível,cíveis,civilista,responsabilidade civil'),
    ('Previdenciário', 'previdenciário,previdenciária,previdência,previdência social,previdenciarista,INSS'),
    ('Criminal', 'criminal,penal,crime,crimes,criminalista,processo penal,defesa criminal'),
    ('Tributário', 'tributário,tributária,tributos,tributarista,fiscal,impostos'),
    ('Empresarial', 'empresarial,empresa,empresas,comercial,societário,corporativo,business'),
    ('Imobiliário', 'imobiliário,imobiliária,imóvel,imóveis,imobiliarista'),
    ('Digital', 'digital,internet,eletrônico,informática,tecnologia,proteção de dados,LGPD')
) AS known (area, words), unnest(string_to_array(words, ',')) AS word;

-- The area a word stands for; the word itself, without blanks around, where nobody knows it.
CREATE FUNCTION litgo.area_name(word text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN coalesce((SELECT w.area FROM litgo.area_words w WHERE w.key = litgo.area_key(word)), btrim(word));

-- Every key an area is known by: what a lawyer's keys are compared with.
CREATE FUNCTION litgo.area_variants(word text) RETURNS text[]
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN ARRAY(SELECT w.key FROM litgo.area_words w WHERE w.area = litgo.area_name(word) UNION SELECT litgo.area_key(word));

DROP INDEX IF EXISTS public.litgo_lawyers_place, public.litgo_lawyers_areas;  -- others stand in their place
