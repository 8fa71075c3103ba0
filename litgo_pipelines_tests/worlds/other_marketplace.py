"""A marketplace with names of its own: Portuguese tables, statuses in enums, latitude and longitude, the same ids."""

import uuid
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pytest

from litgo_pipelines.database import connect, normalise
from litgo_pipelines.simulation import rows
from litgo_pipelines.simulation.truth import Market, World
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.live_schema import copy

TABLES = """
CREATE SCHEMA banca;
CREATE TYPE banca.situacao_caso AS ENUM ('aguardando', 'atribuido', 'em_andamento', 'encerrado', 'cancelado');
CREATE TYPE banca.complexidade AS ENUM ('BAIXA', 'MÉDIA', 'ALTA');
CREATE TYPE banca.situacao_oferta AS ENUM ('pendente', 'interessado', 'recusada', 'expirada', 'encerrada', 'rascunho');
CREATE TYPE banca.situacao_contrato AS ENUM ('aguardando_assinatura', 'ativo', 'encerrado', 'cancelado');
CREATE TYPE banca.resultado AS ENUM ('ganho', 'perdido', 'acordo', 'em_andamento');
CREATE TABLE banca.perfis (id uuid PRIMARY KEY, nome text, email varchar(200), token_push text,
    criado_em timestamptz NOT NULL DEFAULT now());
CREATE TABLE banca.advogados (id uuid PRIMARY KEY, nome text NOT NULL, numero_oab text, area_principal text,
    especialidades text[], latitude numeric(9, 6), longitude numeric(9, 6), disponivel boolean NOT NULL DEFAULT true,
    aprovado boolean, indicadores jsonb, indicadores_subarea jsonb, soft_skills real, curriculo jsonb, limite_casos int,
    data_inscricao_oab date, casos_30d int, capacidade_mensal int, ultima_oferta_em timestamptz,
    criado_em timestamptz NOT NULL DEFAULT now());
CREATE TABLE banca.casos (id uuid PRIMARY KEY, cliente_id uuid NOT NULL REFERENCES banca.perfis,
    titulo text, descricao text, area text, subarea text, urgencia_horas int, complexidade banca.complexidade,
    latitude numeric(9, 6), longitude numeric(9, 6), situacao banca.situacao_caso NOT NULL,
    criado_em timestamptz NOT NULL DEFAULT now());
CREATE TABLE banca.sugestoes (caso_id uuid REFERENCES banca.casos, advogado_id uuid REFERENCES banca.advogados,
    pontuacao numeric, nota_equidade numeric, nota_bruta numeric, caracteristicas jsonb, detalhes jsonb,
    criado_em timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (caso_id, advogado_id));
CREATE TABLE banca.ofertas (id uuid PRIMARY KEY, caso_id uuid NOT NULL REFERENCES banca.casos,
    advogado_id uuid NOT NULL REFERENCES banca.advogados, situacao banca.situacao_oferta NOT NULL,
    enviada_em timestamptz NOT NULL, respondida_em timestamptz, expira_em timestamptz, pontuacao numeric,
    nota_bruta numeric, criado_em timestamptz NOT NULL DEFAULT now(), UNIQUE (caso_id, advogado_id));
CREATE TABLE banca.contratos (id uuid PRIMARY KEY, caso_id uuid NOT NULL REFERENCES banca.casos,
    advogado_id uuid NOT NULL REFERENCES banca.advogados, cliente_id uuid NOT NULL REFERENCES banca.perfis,
    situacao banca.situacao_contrato NOT NULL, honorarios jsonb, assinado_cliente timestamptz,
    assinado_advogado timestamptz, documento_url text, criado_em timestamptz NOT NULL DEFAULT now());
CREATE TABLE banca.avaliacoes (id uuid PRIMARY KEY, contrato_id uuid UNIQUE REFERENCES banca.contratos, nota int,
    resultado banca.resultado, comentario text, criado_em timestamptz NOT NULL DEFAULT now());
CREATE INDEX ofertas_por_envio ON banca.ofertas (enviada_em, advogado_id, situacao);
"""

# Rows of the simulator, in temporary tables of our names, become theirs.
BECOME = """
INSERT INTO banca.perfis SELECT id, full_name, email, push_token, created_at FROM pg_temp.profiles;
INSERT INTO banca.advogados
SELECT id, name, oab_number, primary_area, tags_expertise, coalesce(lat, geo_latlon[1]), coalesce(lng, geo_latlon[0]),
       is_available, true, kpi, kpi_subarea, kpi_softskill, curriculo_json, max_concurrent_cases, oab_inscription_date,
       NULL, NULL, NULL, created_at
FROM pg_temp.lawyers;
INSERT INTO banca.casos
SELECT id, client_id, title, description, area, subarea, urgency_h,
       (CASE complexity WHEN 'LOW' THEN 'BAIXA' WHEN 'MEDIUM' THEN 'MÉDIA' WHEN 'HIGH' THEN 'ALTA' END
       )::banca.complexidade,
       coalesce(lat, coords[1]), coalesce(lng, coords[0]),
       (CASE status WHEN 'pending_assignment' THEN 'aguardando' WHEN 'assigned' THEN 'atribuido'
                    WHEN 'in_progress' THEN 'em_andamento' WHEN 'closed' THEN 'encerrado' ELSE 'cancelado' END
       )::banca.situacao_caso, created_at
FROM pg_temp.cases;
INSERT INTO banca.sugestoes
SELECT case_id, lawyer_id, fair_score, equity_score, raw_score, features, breakdown, created_at
FROM pg_temp.case_matches;
INSERT INTO banca.ofertas
SELECT id, case_id, lawyer_id,
       (CASE status WHEN 'pending' THEN 'pendente' WHEN 'interested' THEN 'interessado' WHEN 'declined' THEN 'recusada'
                    WHEN 'expired' THEN 'expirada' ELSE 'encerrada' END)::banca.situacao_oferta,
       sent_at, responded_at, expires_at, fair_score, raw_score, created_at
FROM pg_temp.offers;
INSERT INTO banca.contratos
SELECT id, case_id, lawyer_id, client_id,
       (CASE status WHEN 'pending-signature' THEN 'aguardando_assinatura' WHEN 'active' THEN 'ativo'
                    WHEN 'closed' THEN 'encerrado' ELSE 'cancelado' END)::banca.situacao_contrato,
       fee_model, signed_client, signed_lawyer, doc_url, created_at
FROM pg_temp.contracts;
INSERT INTO banca.avaliacoes
SELECT id, contract_id, rating, (CASE outcome WHEN 'won' THEN 'ganho' WHEN 'lost' THEN 'perdido'
       WHEN 'settled' THEN 'acordo' WHEN 'ongoing' THEN 'em_andamento' END)::banca.resultado, comment, created_at
FROM pg_temp.reviews;
"""


def fill(url: str, ours: str, *, lawyers: int, cases: int, days: int, end: datetime) -> None:
    """`ours`: SQL that creates tables of our names, `tables.sql`, read into temporary ones."""
    world = World(11, lawyers, cases, days, end)
    market = Market(world)
    found: dict[str, list[pa.Table]] = {"profiles": [rows.clients(world)]}
    for events in market.events():
        for table, data in rows.tables(events, world.seed).items():
            found.setdefault(table, []).append(data)
    them, profiles = rows.lawyers(market)
    found["lawyers"] = [them]
    found["profiles"].append(profiles)
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(ours.replace("public.", "pg_temp.").replace("CREATE TABLE pg_temp.", "CREATE TEMP TABLE "))
        for table in ("profiles", "lawyers", "cases", "case_matches", "offers", "contracts", "reviews"):
            copy(cursor, f"pg_temp.{table}", pa.concat_tables(found[table]).combine_chunks())
        cursor.execute(BECOME)
    execute(url, "ANALYZE")


@pytest.fixture
def other(postgres_server_url: str) -> Iterator[str]:
    """URL of a database with the other marketplace, empty; dropped after the test."""
    name = f"litgo_test_{uuid.uuid4().hex[:12]}"
    execute(postgres_server_url, f"CREATE DATABASE {name}")
    url = normalise(postgres_server_url, database=name)
    execute(url, TABLES)
    yield url
    execute(postgres_server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
