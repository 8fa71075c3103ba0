"""Overview dashboard: the state of the system now and since yesterday; each figure links to its own page."""

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from litgo_pipelines.equity.targets import TARGETS
from litgo_pipelines.tools.dashboards.parts import (
    COUNT,
    GREEN,
    PARTS,
    PER_HOUR,
    PLAIN,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    Panel,
    Steps,
    above,
    assemble,
    below,
    lines,
    named,
    number,
    per_hour,
    quantiles,
    share,
)

GINI, COVERAGE, SPREAD = (round(target.limit, 3) for target in TARGETS)
FALLBACK_SHARE = 0.1
MATCHING_P95, TRIAGE_P95, OFFERS_P95 = 5.0, 30.0, 300.0  # seconds
HEALTHY = ((None, RED), (0.7, YELLOW), (0.9, GREEN))
QUEUE_AGE = 1800.0  # seconds
UP = {"1": ("no ar", GREEN), "0": ("fora do ar", RED)}

# What other pages show too.
ACCEPTANCE = {
    "aceitas": 'sum(offer_outcomes{status="interested"}) / sum(offer_outcomes)',
    "recusadas": 'sum(offer_outcomes{status="declined"}) / sum(offer_outcomes)',
    "vencidas": 'sum(offer_outcomes{status="expired"}) / sum(offer_outcomes)',
}


def health(span: int = 4) -> stat.Panel:
    return number(
        "Saúde do sistema",
        "Nota de 0 a 100 %: banco, daemons, jobs, filas, disjuntores e modelo. Abaixo de 70 % há alerta.",
        SHARE,
        {"saúde": "system_health_score"},
        limit=HEALTHY,
        alerts=["HealthScoreLow"],
        span=span,
    )


def fallbacks(span: int = 12) -> timeseries.Panel:
    return lines(
        "Uso de alternativas por serviço",
        "Parte das chamadas a serviços externos em que a alternativa local trabalhou no lugar deles. Meta: até 10 %.",
        SHARE,
        {"{{service}}": share("fallback_usage_total", "api_requests_total", "service")},
        limit=above(FALLBACK_SHARE),
        alerts=["FallbackOften"],
        span=span,
    )


def queues(span: int = 12) -> timeseries.Panel:
    return lines(
        "Idade das filas",
        "Há quanto tempo espera o mais antigo: caso sem ofertas, pedido de contrato sem documento, mensagem. "
        "Limite: 30 minutos.",
        SECONDS,
        {
            "casos": "case_queue_oldest_age_seconds",
            "contratos": "contract_queue_oldest_age_seconds",
            "mensagens": "outbox_oldest_age_seconds",
        },
        limit=above(QUEUE_AGE),
        alerts=["CaseQueueOld", "ContractQueueOld", "OutboxOld", "UrgentCaseWaits", "CaseWaitsForPerson"],
        span=span,
    )


def champion(span: int = 4) -> stat.Panel:
    return number(
        "Modelo em uso",
        "Versão do modelo que ordena os advogados; sem modelo, os pesos fixos.",
        PLAIN,
        {"versão {{version}}": 'model_version_info{alias="champion"}'},
        names=True,
        nothing="pesos fixos",
        alerts=["NoChampion", "ChampionNotUsed"],
        links={"Modelos": "${mlflow}/#/models/litgo-ranker"},
        span=span,
    )


def gini(span: int = 8) -> timeseries.Panel:
    return lines(
        "Gini das ofertas",
        "Desigualdade das ofertas por capacidade, 30 dias até a última noite. Meta: abaixo de 0,3.",
        PLAIN,
        {"Gini": "equity_offer_gini"},
        limit=above(GINI),
        alerts=["OffersUnfair"],
        span=span,
    )


def coverage(span: int = 8) -> timeseries.Panel:
    return lines(
        "Cobertura",
        "Parte dos advogados elegíveis que receberam oferta em 30 dias. Meta: acima de 80 %.",
        SHARE,
        {"cobertura": "equity_offer_coverage"},
        limit=below(COVERAGE),
        alerts=["CoverageLow"],
        top=1,
        span=span,
    )


def firing(title: str, severity: str, limit: Steps) -> stat.Panel:
    return number(
        title,
        "Alertas que disparam agora, segundo o Prometheus.",
        COUNT,
        {"alertas": f'count(ALERTS{{alertstate="firing",severity="{severity}"}}) or vector(0)'},
        limit=limit,
        links={"Runbooks": "${runbooks}docs/runbooks"},
    )


def build() -> Dashboard:
    return assemble(
        "litgo-overview",
        "LITGO · Visão geral",
        "Está tudo bem, agora e desde ontem?",
        "now-24h",
        "1m",
        {
            "Agora": _now(),
            "Fluxo": _flow(),
            "Metas e riscos": _targets(),
        },
    )


def _now() -> list[Panel]:
    return [
        health(),
        firing("Alertas críticos", "critical", above(1)),
        firing("Avisos", "warning", ((None, GREEN), (1, YELLOW))),
        number(
            "Fontes dos dados",
            "O exportador lê o banco e o Dagster; se um falha, as figuras envelhecem.",
            PLAIN,
            named(
                "source",
                {"database": "banco", "statistics": "estatísticas", "dagster": "Dagster"},
                "litgo_source_up{{{}}}".format,
            ),
            values=UP,
            alerts=["DatabaseDown", "DatabaseReadOnly", "StatisticsNotRead", "GaugeNotRead", "DagsterStorageDown"],
        ),
        champion(),
        number("Ofertas ativas", "Ofertas que esperam resposta.", COUNT, {"ofertas": "active_offers_count"}),
    ]


def _flow() -> list[Panel]:
    return [
        lines(
            "Casos e ofertas por hora",
            "Casos triados, casos com advogado, ofertas feitas.",
            PER_HOUR,
            {
                "casos triados": per_hour("triage_requests_total"),
                "casos com advogado": per_hour("matches_found_total"),
                "ofertas": per_hour("offers_created_total"),
            },
        ),
        queues(),
        lines(
            "Contratos por hora",
            "Levados à assinatura, e assinados pelas duas partes.",
            PER_HOUR,
            {
                "à assinatura": per_hour("contract_creation_method_total"),
                "assinados": per_hour("contracts_signed_total"),
            },
        ),
        lines(
            "O que veio das ofertas",
            "Das ofertas cujo prazo terminou nas últimas 24 horas.",
            SHARE,
            ACCEPTANCE,
            top=1,
            alerts=["FewOffersAccepted", "OffersExpire"],
        ),
    ]


def _targets() -> list[Panel]:
    return [
        gini(),
        coverage(),
        fallbacks(span=8),
        lines(
            "Do caso às ofertas, p95",
            "Da criação de um caso até suas primeiras ofertas: 95 % em menos tempo. Limite: 5 minutos. Sem os casos "
            "que esperam por uma pessoa.",
            SECONDS,
            {"p95": quantiles("case_to_offers_seconds")["p95"]},
            limit=above(OFFERS_P95),
            alerts=["OffersLate", "MatchingStopped"],
            span=8,
        ),
        lines(
            "Falhas de jobs por hora",
            "Execuções do Dagster que falharam.",
            PER_HOUR,
            {"falhas": per_hour("job_executions_total", where='status="failure"')},
            alerts=["CriticalJobFailed"],
            links={"Execuções": "${dagster}/runs"},
            span=8,
        ),
        lines(
            "Partes da saúde",
            "Cada parte de 0 a 100 %; a mais baixa é a causa.",
            SHARE,
            named("part", PARTS, "system_health_part{{{}}}".format),
            top=1,
            alerts=["HealthScoreLow"],
            span=8,
        ),
    ]
