"""Commands for contracts that are signed on paper."""

import re
import sys
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from litgo_pipelines.cli.session import AsJson, Contrato, acting, login, marketplace, nome, say, show
from litgo_pipelines.runtime.supervisor import platform

contrato = typer.Typer(no_args_is_help=True, help="Contratos assinados à mão (docs/manual-contracts.md).")


def _instante(value: str) -> str:
    try:
        zone = datetime.fromisoformat(value.strip()).tzinfo
    except ValueError:
        raise typer.BadParameter(f"{value!r}: escreva como 2026-01-31T14:30:00-03:00") from None
    if zone is None:
        raise typer.BadParameter(f"{value!r}: falta o fuso, como em 2026-01-31T14:30:00-03:00")
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"\s*[0-9a-fA-F]{64}\s*", value):
        raise typer.BadParameter("são 64 dígitos hexadecimais, como o comando sha256sum mostra")
    return value


@contrato.command("tarefas")
def signing_tasks(as_json: AsJson = False) -> None:
    """Lista os contratos que esperam assinatura em papel, o mais urgente primeiro."""
    from litgo_pipelines.contracts import manual

    with marketplace() as cursor:
        tasks = manual.open_tasks(cursor, datetime.now(UTC))
        names = manual.names_of(cursor, tasks)
    found = [{**asdict(task), **asdict(names[task.contract_id])} for task in tasks]
    show(found, as_json, lambda: manual.named(tasks, names))


@contrato.command("pdf")
def contract_document(
    contrato: Contrato,
    por: Annotated[str, typer.Option(help="quem lê; sem isto, o usuário do sistema", metavar="NOME")] = "",
) -> None:
    """Escreve o documento a assinar na saída padrão e registra a leitura: litgo contrato pdf ID > contrato.pdf."""
    from litgo_pipelines.contracts import manual

    if sys.stdout.isatty():
        raise typer.BadParameter("redirecione a saída: litgo contrato pdf CONTRATO > contrato.pdf")
    with marketplace() as cursor:
        sys.stdout.buffer.write(manual.document(cursor, contrato, por or login(), datetime.now(UTC)))


@contrato.command("assinar")
def record_signature(
    contrato: Contrato,
    partes: Annotated[Literal["client", "lawyer", "both"], typer.Option(help="quem assinou")],
    em: Annotated[
        str, typer.Option(help="quando, com fuso: 2026-01-31T14:30:00-03:00", metavar="INSTANTE", parser=_instante)
    ],
    por: Annotated[str, typer.Option(help="quem registra", metavar="NOME", parser=nome)],
    sha256: Annotated[
        str, typer.Option(help="do arquivo assinado, 64 dígitos hexadecimais", metavar="SHA256", parser=_sha256)
    ],
) -> None:
    """Registra assinaturas em papel."""

    from litgo_pipelines.contracts import manual
    from litgo_pipelines.database import open_connection

    with platform() as environment, closing(open_connection(environment["LITGO_DATABASE_URL"])) as opened:
        say(
            manual.record_signature(
                opened,
                contract_id=contrato,
                signed_by=partes,
                signed_at=em,
                recorded_by=acting(por),
                sha256=sha256,
                as_of=datetime.now(UTC),
            )
        )
