"""Commands for the rights of the people in the data: export and erasure."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.session import AsJson, Titular, login, marketplace, say, show, writable
from litgo_pipelines.runtime.supervisor import platform
from litgo_pipelines.settings import settings

if TYPE_CHECKING:
    from litgo_pipelines.resources.mlflow import MLflow

titular = typer.Typer(no_args_is_help=True, help="Direitos do titular dos dados, LGPD (docs/privacy.md).")
By = Annotated[str, typer.Option(help="quem pediu ou atende; sem isto, o usuário do sistema", metavar="NOME")]


@titular.command("exportar")
def export_person(
    identificador: Titular,
    por: By = "",
    arquivo: Annotated[
        Path | None, typer.Option(help="sem isto, titular-IDENTIFICADOR.json nesta pasta", metavar="ARQUIVO")
    ] = None,
) -> None:
    """Grava tudo o que guardamos sobre um cliente ou advogado(a) em um arquivo que só você lê."""
    from litgo_pipelines.database import open_connection
    from litgo_pipelines.persons import export, keys

    person = keys.person(identificador)
    path = writable(arquivo or Path(f"titular-{person}.json"))
    with platform() as environment, closing(open_connection(environment["LITGO_DATABASE_URL"])) as connection:
        home = Path(environment["LITGO_HOME"])
        found = export.export(connection, person, por or login(), datetime.now(UTC), home)
    export.write(path, found)
    say(f"pedido {found['pedido']}: {path}")


@titular.command("apagar")
def erase_person(identificador: Titular, por: By = "") -> None:
    """Apaga tudo o que guardamos sobre um cliente ou advogado(a); o que tem de ficar fica sem a pessoa."""
    from litgo_pipelines.database import open_connection
    from litgo_pipelines.persons import erase, keys

    person = keys.person(identificador)
    with platform() as environment, closing(open_connection(environment["LITGO_DATABASE_URL"])) as connection:
        where = erase.places(
            Path(environment["LITGO_HOME"]),
            settings().triage_models,
            _mlflow(environment["MLFLOW_TRACKING_URI"]),
            settings().litgo_backup_folder,
            databases=(environment["DAGSTER_DATABASE_URL"], environment["LITGO_MLFLOW_DATABASE_URL"]),
        )
        say(erase.text(erase.erase(connection, person, por or login(), where, datetime.now(UTC))))


@titular.command("ausentes")
def missing_people(as_json: AsJson = False) -> None:
    """Conta quem guardamos e o marketplace não mostra mais, e quantos serão apagados na próxima noite."""
    from litgo_pipelines.persons import follow

    with marketplace() as cursor:
        cursor.execute(
            "SELECT kind, count(*), count(*) FILTER (WHERE looks >= %s), min(first_missed_at) "
            "FROM litgo.missed_subjects GROUP BY kind ORDER BY kind",
            (follow.LOOKS,),
        )
        rows = cursor.fetchall()
    lines = [f"{kind}: {number} ausentes desde {since:%d/%m/%Y}, {due} a apagar" for kind, number, due, since in rows]
    found = [dict(zip(("kind", "missing", "to_erase", "since"), row, strict=True)) for row in rows]
    show(found, as_json, lambda: "\n".join(lines or ["ninguém está ausente"]))


@titular.command("confirmar")
def confirm_deletions(por: By = "") -> None:
    """Confirma que muitos foram mesmo apagados no marketplace: por dois dias, a noite acompanha quantos forem."""
    from litgo_pipelines.persons import follow

    with marketplace() as cursor:
        follow.confirm(cursor, por or login(), datetime.now(UTC))
    say("confirmado: as próximas noites apagam o que o marketplace apagou")


def _mlflow(uri: str) -> "MLflow":
    from litgo_pipelines.resources.mlflow import MLflow

    return MLflow(tracking_uri=uri)
