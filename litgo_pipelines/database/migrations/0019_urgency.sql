-- Which source an urgency is from, and what the text says of danger (intake/).
ALTER TABLE litgo.triage
    ADD urgency_source text CHECK (urgency_source IN ('client', 'rule', 'text', 'class', 'openai', 'person', 'default')),
    ADD danger double precision CHECK (danger BETWEEN 0 AND 1),  -- probability; null: no text was read
    ADD life_at_risk boolean NOT NULL DEFAULT false;             -- the client is told the public numbers
UPDATE litgo.triage SET urgency_source = coalesce(sources ->> 'urgency_h', 'default');
ALTER TABLE litgo.triage ALTER urgency_source SET NOT NULL;

-- What a client chose; null for what is no choice: nothing, «Não sei», «Outros» and their like.
CREATE FUNCTION litgo.chosen(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN btrim(regexp_replace(litgo.folded(value), '[^a-z0-9]+', ' ', 'g')) ~ (
        '^('
        'n(ao)? (sei|tenho certeza|informad[oa]|se aplica|definid[oa]|especificad[oa]|classificad[oa]|listad[oa])( .*)?'
        '|(eu |ainda )+nao sei( .*)?|nao'
        '|outr[oa]s?( (assunto|area|tema|caso|tipo|materia|opcao|questao|direito)s?)?( especifi(que|car))?'
        '|(nenhum|nenhuma)( .*)?|indefinid[oa]|desconhecid[oa]|a definir|em branco|sem (area|opcao|categoria)'
        '|(selecione|escolha)( .*)?|tanto faz|qualquer( .*)?|geral|diversos'
        '|n a|na|nd|nan|null|none|undefined|unknown|others?|x+|'
        ')$'
    ) THEN NULL
    ELSE value
END;
