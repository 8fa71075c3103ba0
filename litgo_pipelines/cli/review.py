"""Commands for what needs a person: the triage review queue, dead letters, the explanation of a case's offers."""

import csv
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from litgo_pipelines.cli.session import AsJson, CaseId, Caso, Por, marketplace, read_text, say, show
from litgo_pipelines.runtime.supervisor import platform
from litgo_pipelines.settings import settings

app = typer.Typer()


@app.command()
def explain(case_id: CaseId, as_json: AsJson = False) -> None:
    """Say why a case was offered to whom: features, load, and what the next five lacked."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.matching import explain as explaining
    from litgo_pipelines.matching.serving import Rankers
    from litgo_pipelines.resources.mlflow import MLflow

    with platform() as environment:
        with connect(environment["LITGO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            rounds = explaining.read_matchings(cursor, case_id)
            rankers = Rankers(MLflow(tracking_uri=environment["MLFLOW_TRACKING_URI"]), settings().served_models)
            rankers.know(cursor)
        parts = [explaining.contributions(found, rankers.parts(found.model_version)) for found in rounds]
    show(
        [{**asdict(found), "contributions": added} for found, added in zip(rounds, parts, strict=True)],
        as_json,
        lambda: "\n\n".join(explaining.text(found, added) for found, added in zip(rounds, parts, strict=True)),
    )


@app.command("dead-letters")
def dead_letters(as_json: AsJson = False) -> None:
    """List cases nobody was found for in three tries and messages not delivered for a day, with the reason."""
    from litgo_pipelines.notifications import queue

    with marketplace() as cursor:
        cursor.execute(
            "SELECT case_id::text, last_failed_at, reason FROM litgo.matching_failures "
            "WHERE dead ORDER BY last_failed_at, case_id"
        )
        cases, messages = cursor.fetchall(), queue.dead(cursor)
    lines = [f"case     {case_id}  {failed_at:%Y-%m-%d %H:%M}  {reason}" for case_id, failed_at, reason in cases]
    lines += [f"message  {m.message_id}  {m.kind}  {m.created_at:%Y-%m-%d %H:%M}  {m.reason}" for m in messages]
    again = "; `litgo retry CASE_OR_MESSAGE_ID` tries one again" * bool(lines)
    lines.append(f"{len(cases)} cases, {len(messages)} messages{again}")
    found = {
        "cases": [dict(zip(("case_id", "last_failed_at", "reason"), case, strict=True)) for case in cases],
        "messages": [message._asdict() for message in messages],
    }
    show(found, as_json, lambda: "\n".join(lines))


@app.command()
def retry(
    dead_letter: Annotated[str, typer.Argument(help="as `litgo dead-letters` lists it", metavar="CASE_OR_MESSAGE_ID")],
) -> None:
    """Try a dead letter again: a case with the next matching, a message with the next delivery."""
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
def parked_cases(as_json: AsJson = False) -> None:
    """Lista os casos parados, o mais urgente primeiro, e quem já sabe."""
    from litgo_pipelines.matching import waits

    with marketplace() as cursor:
        parked = waits.parked(cursor)
    show(
        [case._asdict() for case in parked],
        as_json,
        lambda: f"casos parados: {len(parked)}\n\n{waits.markdown(parked)}" if parked else "nenhum caso está parado",
    )


mascara = typer.Typer(no_args_is_help=True, help="O mascaramento de dados pessoais (docs/privacy.md).")
triagem = typer.Typer(no_args_is_help=True, help="A fila de revisão da triagem (docs/triage.md).")
app.add_typer(triagem, name="triagem")


@triagem.command("fila")
def review_queue(as_json: AsJson = False) -> None:
    """Lista os casos que aguardam uma pessoa, o mais urgente primeiro, e por quê."""
    from litgo_pipelines.intake import review

    with marketplace() as cursor:
        cases = review.queue(cursor, datetime.now(UTC))
    show([{**asdict(case), "hours_left": case.hours_left} for case in cases], as_json, lambda: review.text(cases))


@triagem.command("medir")
def urgency_figures(
    arquivo: Annotated[Path, typer.Argument(help="CSV com text, label e kind", metavar="ARQUIVO")],
) -> None:
    """Mede quanto perigo é reconhecido em frases rotuladas: um CSV com text, label e kind."""
    from litgo_pipelines.intake import danger, measure

    try:
        given = danger.sentences(read_text(arquivo))
    except (KeyError, csv.Error):
        given = []
    if not given or any(None in (each.text, each.label, each.kind) for each in given):
        raise typer.BadParameter(f"{arquivo}: é preciso um CSV com text, label e kind em cada linha")
    say(measure.measured(given).markdown())


@mascara.command("medir")
def masking_figures() -> None:
    """Mede, por tipo, quanto dado pessoal é mascarado em textos inventados, e quanto texto inofensivo é alterado."""
    from litgo_pipelines.intake.masking.measure import HALVES, generated, markdown, measured, texts

    halves = {half: texts(half) for half in HALVES} | {"generated": tuple(generated())}
    say(markdown({name: measured(given) for name, given in halves.items()}))


@triagem.command("urgencia")
def review_urgency(
    caso: Caso,
    horas: Annotated[
        float, typer.Argument(min=2, max=720, help="até que um(a) advogado(a) tenha de agir", metavar="HORAS")
    ],
    por: Por,
) -> None:
    """Confirma ou corrige a urgência de um caso aberto, em horas."""
    from litgo_pipelines.intake import review

    with platform() as environment:
        say(review.take_urgency(environment["LITGO_DATABASE_URL"], caso, horas, por, datetime.now(UTC)))


@triagem.command("decidir")
def review_decision(
    caso: Caso,
    area: Annotated[str, typer.Argument(help="como na taxonomia", metavar="ÁREA")],
    subarea: Annotated[str, typer.Argument(help="como na taxonomia", metavar="SUBÁREA")],
    por: Por,
) -> None:
    """Decide a área e a subárea de um caso da fila."""
    from litgo_pipelines.intake import review
    from litgo_pipelines.intake.taxonomy import UnknownSubarea

    with platform() as environment:
        url = environment["LITGO_DATABASE_URL"]
        try:
            say(review.take_decision(url, caso, area, subarea, por, datetime.now(UTC)))
        except UnknownSubarea as error:
            raise typer.BadParameter(str(error)) from None
