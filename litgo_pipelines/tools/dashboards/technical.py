"""Technical dashboard: latency, and the health of the services we depend on."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from litgo_pipelines.tools.dashboards.overview import MATCHING_P95, TRIAGE_P95, fallbacks
from litgo_pipelines.tools.dashboards.parts import (
    FAILURES,
    GREEN,
    PER_HOUR,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    Panel,
    above,
    assemble,
    hourly,
    lines,
    named,
    per_hour,
    quantile_by,
    quantiles,
    share,
    states,
)

BREAKER = {"0": ("fechado", GREEN), "0.5": ("em teste", YELLOW), "1": ("aberto", RED)}
RANKERS = {"model": "modelo", "hand_weights": "pesos fixos"}
UNUSABLE = {name: FAILURES[name] for name in ("timeout", "unavailable", "rejected", "invalid")} | {
    "refused": "negada",
    "skipped": "não perguntada",
}
WITHHELD = {"no_consent": "sem consentimento", "area": "pela área", "text": "pelo texto"}
UNSENT = {"failed": "tentativas que falharam", "dead": "desistências"}
TIMEOUTS = 0.01
OBJECTIVE = 0.001  # failures an objective of 99.9 % leaves
STALE = 300.0  # seconds


def build() -> Dashboard:
    return assemble(
        "litgo-technical",
        "LITGO · Desempenho técnico",
        "Quão rápido, e como respondem os serviços externos?",
        "now-6h",
        "30s",
        {
            "Latência e erros": _latency(),
            "Serviços externos": _services(),
            "Alternativas": [*_fallbacks(), *_what_is_not_used()],
        },
    )


def _latency() -> list[Panel]:
    return [
        lines(
            "Triagem",
            "Segundos para triar um caso. Limite do p95: 30 s.",
            SECONDS,
            quantiles("triage_duration_seconds"),
            limit=above(TRIAGE_P95),
            alerts=["TriageSlow"],
            span=8,
        ),
        lines(
            "Distribuição",
            "Segundos da vez de um caso até suas ofertas. Limite do p95: 5 s.",
            SECONDS,
            quantiles("matching_duration_seconds"),
            limit=above(MATCHING_P95),
            alerts=["MatchingSlow"],
            span=8,
        ),
        lines(
            "Mensagens",
            "Segundos da criação de uma mensagem até a entrega, push e e-mail.",
            SECONDS,
            quantiles("notification_duration_seconds"),
            alerts=["OutboxOld"],
            span=8,
        ),
        lines(
            "Distribuições sem resultado",
            "Tentativas por hora de achar advogados que falharam.",
            PER_HOUR,
            hourly("matching_failures_total", "outcome", {"retried": "a repetir", "dead": "desistências"}),
            stacked=True,
            alerts=["MatchingFails", "DeadLetters"],
        ),
        lines(
            "Mensagens com problema",
            "Por hora: tentativas que falharam, desistências depois de um dia, mensagens talvez entregues duas vezes.",
            PER_HOUR,
            {
                **named("status", UNSENT, lambda w: per_hour("notifications_sent_total", where=w)),
                "talvez em dobro": per_hour("notifications_possible_duplicates_total"),
            },
            stacked=True,
            alerts=["NotificationsFail"],
        ),
    ]


def _services() -> list[Panel]:
    return [
        lines(
            "Latência p95 por serviço",
            "Uma chamada inteira, com repetições e esperas.",
            SECONDS,
            quantile_by("external_api_duration_seconds", "service"),
        ),
        lines(
            "Chamadas por hora",
            "Chamadas a serviços externos, por serviço.",
            PER_HOUR,
            {"{{service}}": per_hour("api_requests_total", "service")},
        ),
        lines(
            "Erros por serviço",
            "Parte das chamadas sem resposta útil, mesmo repetidas. Objetivo: até 0,1 %.",
            SHARE,
            {"{{service}}": share("api_requests_total", "api_requests_total", "service", 'outcome!="ok"')},
            limit=above(OBJECTIVE),
            alerts=["ServiceErrorBudgetBurnsFast", "ServiceErrorBudgetBurnsSlowly"],
        ),
        lines(
            "Erros por motivo",
            "Chamadas por hora sem resposta útil, de todos os serviços.",
            PER_HOUR,
            hourly("api_requests_total", "outcome", FAILURES),
            stacked=True,
        ),
        lines(
            "Sem resposta no prazo",
            "Parte das tentativas sem resposta completa no prazo. Limite: 1 %.",
            SHARE,
            {"{{service}}": share("api_timeouts_total", "api_attempts_total", "service")},
            limit=above(TIMEOUTS),
            alerts=["ServiceTimeouts"],
        ),
        states(
            "Disjuntores",
            "Aberto: o serviço falhou várias vezes seguidas e não é chamado por algum tempo.",
            {"{{service}}": "circuit_breaker_state"},
            BREAKER,
            alerts=["CircuitBreakerOpen"],
        ),
        lines(
            "Certificados",
            "Tempo até vencer o primeiro certificado TLS de cada serviço, visto pelas próprias chamadas.",
            SECONDS,
            {"{{service}}": "certificate_expires_timestamp_seconds - time()"},
            alerts=["CertificateExpires"],
        ),
    ]


def _fallbacks() -> list[Panel]:
    return [
        fallbacks(),
        lines(
            "Tempo em alternativa",
            "Parte do tempo, nas últimas 6 horas, em que a alternativa trabalhou em mais de um "
            "décimo das chamadas. Meta: até 10 %.",
            SHARE,
            {"{{service}}": "avg_over_time(service:fallback_active:bool5m[6h])"},
            limit=above(0.1),
            alerts=["FallbackOften"],
        ),
        lines(
            "Alternativas por motivo",
            "Vezes por hora em que a alternativa trabalhou.",
            PER_HOUR,
            hourly("fallback_usage_total", "reason", FAILURES),
            stacked=True,
            span=8,
        ),
        lines(
            "De onde vêm os vetores",
            "Textos vetorizados por hora, aqui ou pela OpenAI.",
            PER_HOUR,
            hourly("embedding_source_total", "source", {"local": "local", "openai": "OpenAI"}),
            stacked=True,
            span=8,
        ),
    ]


def _what_is_not_used() -> list[Panel]:
    return [
        lines(
            "Quem ordena os advogados",
            "Casos por hora ordenados pelo modelo ou por pesos fixos.",
            PER_HOUR,
            hourly("ranker_used_total", "ranker", RANKERS),
            stacked=True,
            alerts=["ChampionNotUsed"],
            span=8,
        ),
        lines(
            "Triagem sem OpenAI",
            "Casos por hora que o classificador local decidiu porque a OpenAI não deu resposta útil, por motivo.",
            PER_HOUR,
            hourly("triage_openai_fallback_total", "reason", UNUSABLE),
            stacked=True,
            span=8,
        ),
        lines(
            "Textos que não vão à OpenAI",
            "Textos por hora que ficam aqui, por motivo: sem consentimento, ou matéria de família, penal ou de "
            "saúde, pela área ou pelo que dizem.",
            PER_HOUR,
            hourly("openai_withheld_total", "reason", WITHHELD),
            stacked=True,
            span=8,
        ),
        lines(
            "Modelo não usado",
            "Lotes por hora ordenados por pesos fixos embora haja um modelo.",
            PER_HOUR,
            hourly("ranker_fallback_total", "reason", {"unavailable": "não carregou", "broken": "falhou"}),
            stacked=True,
            alerts=["ChampionNotUsed"],
            span=8,
        ),
        lines(
            "Idade das métricas",
            "Há quanto tempo o exportador leu o que mostra. Limite: 5 minutos.",
            SECONDS,
            {"idade": "litgo_metrics_age_seconds"},
            limit=above(STALE),
            alerts=["MetricsStale"],
            span=8,
        ),
    ]
