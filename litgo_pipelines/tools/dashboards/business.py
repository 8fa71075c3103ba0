"""Business dashboard: offers, acceptance, contracts, fairness, areas."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from litgo_pipelines.tools.dashboards.overview import ACCEPTANCE, SPREAD, coverage, gini
from litgo_pipelines.tools.dashboards.parts import (
    COUNT,
    MESSAGES,
    PER_HOUR,
    PLAIN,
    SECONDS,
    SHARE,
    Panel,
    above,
    assemble,
    bars,
    below,
    hourly,
    lines,
    named,
    number,
    per_hour,
)

ACCEPTED, EXPIRED, SIGNED = 0.15, 0.4, 0.3  # where deploy/prometheus/alerts.yml begins to warn
TRIAGED = {"classified": "classificados", "review": "para uma pessoa", "failed": "sem resultado"}
DECIDED = {"openai": "OpenAI", "local": "classificador local", "client": "cliente", "person": "pessoa da equipe"}
METHODS = {"docusign": "à assinatura, DocuSign", "manual": "à assinatura, em papel"}
TARGETS = {"gini": "Gini", "coverage": "cobertura", "spread_points": "diferença"}
SOURCES = "sum(increase(triage_source_total{{{}}}[$__range]))"
CASES_SIGNED = 'sum(case_outcomes{outcome="signed"}) / sum(case_outcomes{outcome="interested"})'
SIGNED_HELP = (
    "Dos casos com advogado interessado na última semana, os que têm contrato assinado. Alerta abaixo de 30 %."
)


def build() -> Dashboard:
    return assemble(
        "litgo-business",
        "LITGO · Negócio",
        "O que o mercado faz por clientes e advogados?",
        "now-7d",
        "5m",
        {
            "Ofertas": [*_offers_at_a_glance(), *_offers_over_time()],
            "Contratos e mensagens": _contracts(),
            "Equidade": _equity(),
            "Áreas do direito": _areas(),
        },
    )


def _offers_at_a_glance() -> list[Panel]:
    return [
        number("Ofertas ativas", "Ofertas que esperam resposta.", COUNT, {"ofertas": "active_offers_count"}),
        number(
            "Aceitas em 24 h",
            "Das ofertas cujo prazo terminou nas últimas 24 horas. Alerta abaixo de 15 %.",
            SHARE,
            {"aceitas": ACCEPTANCE["aceitas"]},
            limit=below(ACCEPTED),
            alerts=["FewOffersAccepted"],
        ),
        number(
            "Vencidas em 24 h",
            "Das ofertas cujo prazo terminou nas últimas 24 horas. Alerta acima de 40 %.",
            SHARE,
            {"vencidas": ACCEPTANCE["vencidas"]},
            limit=above(EXPIRED),
            alerts=["OffersExpire"],
        ),
        number(
            "Contratos em assinatura",
            "Contratos que esperam assinaturas.",
            COUNT,
            {"contratos": "pending_contracts_count"},
        ),
        number(
            "Do interesse ao contrato",
            SIGNED_HELP,
            SHARE,
            {"assinados": CASES_SIGNED},
            limit=below(SIGNED),
            alerts=["FewContractsSigned"],
        ),
        number(
            "Casos parados",
            "Ninguém pode recebê-los agora, ou ninguém aceitou: `litgo casos parados`.",
            COUNT,
            {"casos": "sum(cases_waiting)"},
            alerts=["WaitsUnseen"],
        ),
    ]


def _offers_over_time() -> list[Panel]:
    return [
        lines(
            "Ofertas por hora",
            "Feitas, feitas ao acaso (para aprender) e vencidas sem resposta.",
            PER_HOUR,
            {
                "feitas": per_hour("offers_created_total"),
                "ao acaso": per_hour("offers_explored_total"),
                "vencidas": per_hour("offers_expired_total"),
            },
        ),
        lines(
            "Ofertas por resultado",
            "Ofertas cujo prazo terminou nas últimas 24 horas.",
            COUNT,
            {
                "aceitas": 'sum(offer_outcomes{status="interested"})',
                "recusadas": 'sum(offer_outcomes{status="declined"})',
                "vencidas": 'sum(offer_outcomes{status="expired"})',
                "outras": 'sum(offer_outcomes{status="other"})',
            },
            stacked=True,
        ),
        lines(
            "Taxa de aceite",
            "Das ofertas cujo prazo terminou nas últimas 24 horas. Alerta abaixo de 15 %.",
            SHARE,
            {"aceitas": ACCEPTANCE["aceitas"]},
            limit=below(ACCEPTED),
            span=8,
            alerts=["FewOffersAccepted"],
        ),
        lines(
            "Triagens por hora",
            "Casos classificados, enviados a uma pessoa, ou sem resultado.",
            PER_HOUR,
            hourly("triage_requests_total", "status", TRIAGED),
            alerts=["TriageFails"],
            span=8,
        ),
        bars(
            "Quem decide a área",
            "Parte dos casos do período por quem decidiu a área e a subárea.",
            SHARE,
            named("source", DECIDED, lambda w: f"{SOURCES.format(w)} / {SOURCES.format('')}"),
            top=1,
            span=8,
        ),
    ]


def _contracts() -> list[Panel]:
    return [
        lines(
            "Contratos por hora",
            "Levados à assinatura, por meio, e assinados pelas duas partes.",
            PER_HOUR,
            {
                **hourly("contract_creation_method_total", "method", METHODS),
                "assinados": per_hour("contracts_signed_total"),
            },
            span=8,
        ),
        lines(
            "Do interesse ao contrato, ao longo do tempo",
            SIGNED_HELP,
            SHARE,
            {"assinados": CASES_SIGNED},
            limit=below(SIGNED),
            top=1,
            alerts=["FewContractsSigned"],
            span=8,
        ),
        lines(
            "Mensagens por hora",
            "Aceitas pelos provedores para advogados, clientes e equipe, por meio.",
            PER_HOUR,
            named("type", MESSAGES, lambda w: per_hour("notifications_sent_total", where=w + ',status="accepted"')),
            alerts=["NotificationsFail"],
            span=8,
        ),
    ]


def _equity() -> list[Panel]:
    return [
        gini(),
        coverage(),
        lines(
            "Diferença de carga nos grupos",
            "Utilização entre os percentis 5 e 95 dos advogados de um grupo, em pontos. Meta: até 20.",
            PLAIN,
            {
                "grupo mediano": "quantile(0.5, equity_spread_points)",
                "pior grupo": "max(equity_spread_points)",
            },
            limit=above(SPREAD),
            alerts=["SpreadWide"],
            span=8,
        ),
        bars(
            "Grupos mais carregados",
            "Utilização média dos advogados na última noite, os dez grupos mais "
            "carregados. Acima de 100 % recebem mais do que podem atender.",
            SHARE,
            {"{{pool}}": "sort_desc(topk(10, equity_pool_utilisation))"},
            limit=above(1),
            alerts=["PoolOverloaded"],
        ),
        bars(
            "Grupos menos iguais",
            "Diferença de utilização em pontos, os dez maiores. Meta: até 20.",
            PLAIN,
            {"{{pool}}": "sort_desc(topk(10, equity_spread_points))"},
            limit=above(SPREAD),
            alerts=["SpreadWide"],
        ),
        number(
            "Última noite calculada",
            "Há quanto tempo terminou a última noite com figuras de equidade.",
            SECONDS,
            {"idade": "time() - equity_last_night_timestamp_seconds"},
            limit=above(26 * 3600),
            alerts=["JobLate"],
            span=8,
        ),
        number(
            "Ofertas ao acaso",
            "Parte das ofertas feitas ao acaso no período; esperado: cerca de 2 %.",
            SHARE,
            {
                "ao acaso": "sum(increase(offers_explored_total[$__range])) / "
                "sum(increase(offers_created_total[$__range]))"
            },
            span=8,
        ),
        number(
            "Metas",
            "Gini abaixo de, cobertura acima de, diferença de carga até (pontos).",
            PLAIN,
            named("what", TARGETS, "equity_offer_target{{{}}}".format),
            span=8,
        ),
    ]


def _areas() -> list[Panel]:
    return [
        bars(
            "Casos por área",
            "Casos dos últimos 30 dias.",
            COUNT,
            {"{{area}}": "sort_desc(area_cases)"},
            height=12,
        ),
        bars(
            "Aceite por área",
            "Parte das ofertas aceitas nos últimos 30 dias.",
            SHARE,
            {"{{area}}": "sort_desc(area_accepted_ratio)"},
            top=1,
            height=12,
        ),
    ]
