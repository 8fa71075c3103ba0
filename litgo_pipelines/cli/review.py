"""Commands for what needs a person: the triage review queue, dead letters, the explanation of a case's offers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from litgo_pipelines.cli.session import marketplace, say
from litgo_pipelines.runtime.supervisor import platform
from litgo_pipelines.settings import settings

app = typer.Typer()


@app.command()
def explain(case_id: str) -> None:
    """Why a case was offered to whom: features, load, and what it would have taken for the next five."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.matching import explain as explaining
    from litgo_pipelines.matching.serving import Rankers
    from litgo_pipelines.resources.mlflow import MLflow

    with platform() as environment:
        with connect(environment["LITGO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            rounds = explaining.read_matchings(cursor, case_id)
            rankers = Rankers(MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), settings().served_models)
            rankers.know(cursor)
        for found in rounds:
            parts = explaining.contributions(found, rankers.parts(found.model_version))
            say(explaining.text(found, parts) + "\n")


@app.command("dead-letters")
def dead_letters() -> None:
    """Cases nobody was found for in three tries, messages not delivered for a day, with the reason."""
    from litgo_pipelines.notifications import queue

    with marketplace() as cursor:
        cursor.execute(
            "SELECT case_id::text, last_failed_at, reason FROM litgo.matching_failures "
            "WHERE dead ORDER BY last_failed_at, case_id"
        )
        cases, messages = cursor.fetchall(), queue.dead(cursor)
    for case_id, failed_at, reason in cases:
        say(f"case     {case_id}  {failed_at:%Y-%m-%d %H:%M}  {reason}")
    for message in messages:
        say(f"message  {message.message_id}  {message.kind}  {message.created_at:%Y-%m-%d %H:%M}  {message.reason}")
    say(
        f"{len(cases)} cases, {len(messages)} messages"
        + ("; `litgo retry CASE_OR_MESSAGE_ID` lets one go again" * bool(cases or messages))
    )


@app.command()
def retry(dead_letter: str) -> None:
    """Let a dead letter go again: a case with the next matching, a message with the next delivery."""
    from litgo_pipelines.notifications import queue

    with marketplace() as cursor:
        if dead_letter.isdecimal():
            again = queue.retry(cursor, int(dead_letter), datetime.now(UTC))
        else:
            cursor.execute("DELETE FROM litgo.matching_failures WHERE case_id::text = %s", (dead_letter,))
            again = cursor.rowcount > 0
        if not again:
            raise typer.BadParameter(f"{dead_letter} is no dead letter: `litgo dead-letters` lists them")
    say(f"{dead_letter} goes with the next run")


casos = typer.Typer(no_args_is_help=True, help="O que espera por uma pessoa (docs/operations.md).")


@casos.command("parados")
def parked_cases() -> None:
    """Os casos que não andam sozinhos por enquanto, o mais urgente primeiro, e quem já sabe."""
    from litgo_pipelines.matching import waits

    with marketplace() as cursor:
        parked = waits.parked(cursor)
    say(f"casos parados: {len(parked)}\n\n{waits.markdown(parked)}" if parked else "nenhum caso está parado")


mascara = typer.Typer(no_args_is_help=True, help="O mascaramento de dados pessoais (docs/privacy.md).")
triagem = typer.Typer(no_args_is_help=True, help="A fila de revisão da triagem (docs/triage.md).")
app.add_typer(triagem, name="triagem")


@triagem.command("fila")
def review_queue() -> None:
    """Os casos que aguardam uma pessoa, o mais urgente primeiro, e por quê."""
    from litgo_pipelines.intake import review

    with platform() as environment:
        say(review.show_queue(environment["LITGO_DATABASE_URL"], datetime.now(UTC)))


@triagem.command("medir")
def urgency_figures(arquivo: Path) -> None:
    """Mede quanto perigo é reconhecido em frases rotuladas: um CSV com text, label e kind."""
    from litgo_pipelines.intake import danger, measure

    say(measure.measured(danger.sentences(arquivo.read_text(encoding="utf-8"))).markdown())


@mascara.command("medir")
def masking_figures() -> None:
    """Mede, por tipo, quanto dado pessoal é mascarado em textos inventados, e quanto texto inofensivo é alterado."""
    from litgo_pipelines.intake.masking.measure import HALVES, generated, markdown, measured, texts

    halves = {half: texts(half) for half in HALVES} | {"generated": tuple(generated())}
    say(markdown({name: measured(given) for name, given in halves.items()}))


@triagem.command("urgencia")
def review_urgency(caso: str, horas: float, por: Annotated[str, typer.Option(help="quem decide")]) -> None:
    """Confirma ou corrige a urgência de um caso aberto, em horas."""
    from litgo_pipelines.intake import review

    with platform() as environment:
        say(review.take_urgency(environment["LITGO_DATABASE_URL"], caso, horas, por, datetime.now(UTC)))


@triagem.command("decidir")
def review_decision(caso: str, area: str, subarea: str, por: Annotated[str, typer.Option(help="quem decide")]) -> None:
    """Decide a área e a subárea de um caso da fila."""
    from litgo_pipelines.intake import review

    with platform() as environment:
        url = environment["LITGO_DATABASE_URL"]
        say(review.take_decision(url, caso, area, subarea, por, datetime.now(UTC)))
