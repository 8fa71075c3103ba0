"""Jobs dashboard: everything that starts by itself: jobs, Dagster, queues, models, database."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from litgo_pipelines.tools.dashboards.overview import HEALTHY, champion, health, queues
from litgo_pipelines.tools.dashboards.parts import (
    BYTES,
    COUNT,
    GREEN,
    PARTS,
    PER_HOUR,
    PLAIN,
    RED,
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
    quantile_by,
    share,
)

OBJECTIVE = 0.001  # failures an objective of 99.9 % leaves
CUSUM_LIMIT = 13.0  # monitoring/rules.py, QualityRules.cusum_limit
RUNS = {"Execuções": "${dagster}/runs"}
DAEMONS = {"Daemons": "${dagster}/deployment/daemons"}
AUTOMATION = {"Automação": "${dagster}/automation"}
FAILED = 'sort_desc(sum by (job_name) (increase(job_executions_total{status="failure"}[$__range])) > 0)'
ENDED = {"success": "com sucesso", "failure": "com falha", "canceled": "canceladas"}
ARMS = {"control": "atual", "treatment": "novo"}
RATED = {"champion": "modelo", "holdout": "grupo de controle", "reference": "referência"}
AGAINST = {"reference": "contra a referência", "holdout": "contra o controle", "holdout_own": "do próprio controle"}
STEPS = {
    "candidate": "candidato",
    "challenger": "desafiante",
    "champion": "em uso",
    "archived": "arquivado",
    "rolled_back": "revertido",
    "freeze_lifted": "promoção liberada",
    "sealed": "arquivo confirmado",
}
REASONS = {"volume": "avaliações novas", "manual": "uma pessoa"}
ENDS = {
    "promovidos": 'sum(experiments_ended{outcome="promote"})',
    "sem mudança": 'sum(experiments_ended{outcome=~"futile|horizon|stopped"})',
    "interrompidos": 'sum(experiments_ended{outcome=~"halt|roll_back"})',
}
EVIDENCE = {
    "a favor": 'ab_test_metrics{variant="comparison",metric="log_e_better"}',
    "contra": 'ab_test_metrics{variant="comparison",metric="log_e_worse"}',
    "limite": 'ab_test_metrics{variant="comparison",metric="log_e_limit"}',
}
MODELS = {"Modelos": "${mlflow}/#/models/litgo-ranker"}


def build() -> Dashboard:
    return assemble(
        "litgo-jobs",
        "LITGO · Jobs e saúde",
        "O que começa sozinho funciona? Jobs, filas, modelos e banco.",
        "now-24h",
        "1m",
        {
            "Saúde": _health(),
            "Jobs": _jobs(),
            "Dagster e filas": _dagster(),
            "Modelos e experimentos": [*_models_at_a_glance(), *_models_over_time()],
            "Banco e disco": _database(),
        },
    )


def _health() -> list[Panel]:
    return [
        health(span=6),
        number(
            "Execuções na fila",
            "Execuções do Dagster que esperam a vez.",
            COUNT,
            {"na fila": 'dagster_runs{status="queued"}'},
            links=RUNS,
            span=6,
        ),
        number(
            "Execuções em curso",
            "Execuções do Dagster que trabalham agora.",
            COUNT,
            {"em curso": 'dagster_runs{status="started"}'},
            links=RUNS,
            span=6,
        ),
        number(
            "Versão",
            "Do código que exporta as métricas.",
            PLAIN,
            {"{{version}} · Dagster {{dagster}}": "litgo_build_info"},
            names=True,
            span=6,
        ),
        bars(
            "Partes da saúde",
            "Cada parte de 0 a 100 %; a mais baixa é a causa.",
            SHARE,
            named("part", PARTS, "system_health_part{{{}}}".format),
            limit=HEALTHY,
            top=1,
            alerts=["HealthScoreLow"],
        ),
        bars(
            "Atraso dos jobs",
            "Tempo desde o último sucesso, como parte do permitido; o limite é 100 %.",
            SHARE,
            {
                "{{job_name}}": "sort_desc((time() - job_last_success_timestamp_seconds) / on (job_name) "
                "job_freshness_limit_seconds)"
            },
            limit=above(1),
            top=1,
            alerts=["JobLate", "JobNeverSucceeded"],
            links=RUNS,
        ),
    ]


def _jobs() -> list[Panel]:
    return [
        lines(
            "Execuções por hora",
            "Execuções do Dagster que terminaram, por resultado.",
            PER_HOUR,
            hourly("job_executions_total", "status", ENDED),
            stacked=True,
            links=RUNS,
        ),
        lines(
            "Execuções que falharam",
            "Parte das execuções que terminaram. Objetivo: até 0,1 %.",
            SHARE,
            {"falharam": share("job_executions_total", "job_executions_total", where='status="failure"')},
            limit=above(OBJECTIVE),
            alerts=["JobErrorBudgetBurnsFast", "JobErrorBudgetBurnsSlowly"],
            links=RUNS,
        ),
        bars(
            "Falhas por job",
            "Execuções que falharam no período; repetições contam cada uma.",
            COUNT,
            {"{{job_name}}": FAILED},
            limit=((None, RED),),
            nothing="nenhuma",
            alerts=["CriticalJobFailed"],
            links=RUNS,
        ),
        lines(
            "Duração p95 por job",
            "Segundos do começo ao fim de uma execução.",
            SECONDS,
            quantile_by("job_duration_seconds", "job_name"),
            links=RUNS,
        ),
    ]


def _dagster() -> list[Panel]:
    return [
        lines(
            "Último sinal dos daemons",
            "Há quanto tempo cada um deu sinal de vida. Limite: 3 minutos.",
            SECONDS,
            {"{{daemon}}": "time() - dagster_daemon_heartbeat_timestamp_seconds"},
            limit=above(180),
            alerts=["DagsterDaemonDown"],
            links=DAEMONS,
            span=8,
        ),
        bars(
            "Última avaliação dos sensores",
            "Há quanto tempo cada sensor foi avaliado, os dez mais antigos. Limite: 30 minutos.",
            SECONDS,
            {"{{name}}": 'topk(10, time() - dagster_last_tick_timestamp_seconds{name=~".+_sensor"})'},
            limit=above(1800),
            alerts=["SensorNotTicking"],
            links=AUTOMATION,
            span=8,
        ),
        bars(
            "Avaliações com erro",
            "Avaliações de sensores e agendas que falharam na última hora.",
            COUNT,
            {"{{name}}": "sort_desc(dagster_tick_failures > 0)"},
            nothing="nenhuma",
            limit=above(3),
            alerts=["TicksFail"],
            links=AUTOMATION,
            span=8,
        ),
        queues(span=8),
        lines(
            "Fila do Dagster",
            "Idade da execução mais antiga que espera a vez. Limite: 1 hora.",
            SECONDS,
            {"mais antiga": "dagster_oldest_queued_run_age_seconds"},
            limit=above(3600),
            alerts=["RunQueueStuck"],
            links=RUNS,
            span=8,
        ),
        lines(
            "Mensagens e casos parados",
            "À espera, e os que precisam de uma pessoa.",
            COUNT,
            {
                "mensagens à espera": "outbox_pending_messages",
                "mensagens paradas": "outbox_dead_messages",
                "casos com erro": "matching_dead_letters",
                "casos sem advogado livre": 'cases_waiting{reason="nobody"}',
                "casos que ninguém aceitou": 'cases_waiting{reason="rounds_over"}',
                "sem prazo nem pessoa avisada": "sum(unattended)",
            },
            alerts=["DeadLetters", "OutboxOld", "WaitsUnseen"],
            span=8,
        ),
    ]


def _models_at_a_glance() -> list[Panel]:
    return [
        champion(span=6),
        number(
            "Modelo em experimento",
            "Versão que atende parte dos clientes num experimento.",
            PLAIN,
            {"versão {{version}}": 'model_version_info{alias="challenger"}'},
            names=True,
            nothing="nenhum",
            links=MODELS,
            span=6,
        ),
        number(
            "Reversões",
            "Vezes em que um modelo foi retirado de uso, desde o começo.",
            COUNT,
            {"reversões": "sum(model_rollbacks)"},
            alerts=["ModelRolledBack"],
            links=MODELS,
            span=6,
        ),
        number(
            "Experimentos encerrados",
            "Desde o começo, por resultado.",
            COUNT,
            ENDS,
            alerts=["ExperimentHalted"],
            span=6,
        ),
    ]


def _models_over_time() -> list[Panel]:
    return [
        lines(
            "Conversão no experimento",
            "Clientes com caso aceito, por grupo, no último corte.",
            SHARE,
            named("variant", ARMS, lambda w: f'ab_test_metrics{{metric="conversion_rate",{w}}}'),
            span=8,
        ),
        lines(
            "Evidência do experimento",
            "Logaritmo da evidência de que o novo modelo é melhor ou pior; no limite o experimento decide.",
            PLAIN,
            EVIDENCE,
            span=8,
        ),
        lines(
            "Qualidade do modelo em uso",
            "Parte aceita dos resultados do dia: modelo, grupo de controle e referência.",
            SHARE,
            named("what", RATED, "quality_rate{{{}}}".format),
            alerts=["ModelRolledBack"],
            span=8,
        ),
        lines(
            "Evidência de piora",
            "CUSUM da taxa de aceite contra a referência e o grupo de controle. Limite: 13; "
            "então o modelo é revertido.",
            PLAIN,
            named("against", AGAINST, "quality_cusum{{{}}}".format),
            limit=above(CUSUM_LIMIT),
            alerts=["ModelRolledBack"],
            span=8,
        ),
        bars(
            "Versões de modelos",
            "Passos no ciclo de vida das versões, desde o começo.",
            COUNT,
            named("transition", STEPS, "sum(model_transitions_total{{{}}})".format),
            links=MODELS,
            span=8,
        ),
        bars(
            "Treinamentos",
            "Começados desde o começo: por avaliações novas, ou por uma pessoa.",
            COUNT,
            named("reason", REASONS, "sum(retrainings_total{{{}}})".format),
            links=MODELS,
            span=8,
        ),
    ]


def _database() -> list[Panel]:
    return [
        number(
            "Banco",
            "O exportador consegue ler o Postgres?",
            PLAIN,
            {"Postgres": "database_up"},
            values={"1": ("no ar", GREEN), "0": ("fora do ar", RED)},
            alerts=["DatabaseDown"],
            span=6,
        ),
        number("Tamanho do banco", "Espaço que ocupa.", BYTES, {"banco": "database_size_bytes"}, span=6),
        number(
            "Disco livre",
            "Do disco de LITGO_HOME. Limite: 10 %.",
            SHARE,
            {"livre": "disk_free_bytes / disk_size_bytes"},
            limit=below(0.1),
            alerts=["DiskAlmostFull", "DiskFillsUp"],
            span=6,
        ),
        number(
            "Conexões em uso",
            "Parte das conexões que o Postgres permite. Limite: 80 %.",
            SHARE,
            {"em uso": "sum(database_connections) / max(database_max_connections)"},
            limit=above(0.8),
            alerts=["DatabaseConnectionsHigh"],
            span=6,
        ),
        lines(
            "Conexões por estado",
            "Conexões ao Postgres.",
            COUNT,
            {"{{state}}": "database_connections"},
            stacked=True,
            alerts=["DatabaseConnectionsHigh"],
        ),
        lines(
            "Espaço livre em disco",
            "Do disco de LITGO_HOME, e o tamanho do banco.",
            BYTES,
            {"livre": "disk_free_bytes", "banco": "database_size_bytes"},
            alerts=["DiskFillsUp"],
        ),
    ]
