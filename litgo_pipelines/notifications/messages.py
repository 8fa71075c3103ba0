"""Message texts in Portuguese: what the phone shows and what the e-mail says. Pure.

A push is seen by whoever looks at the phone. Nobody is told another person's name: an offer says a case's area,
complexity and term, a contract's message its fee and term.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from litgo_pipelines.marketplace.names import first_name
from litgo_pipelines.marketplace.public_numbers import help_text, numbers
from litgo_pipelines.notifications import contract_words
from litgo_pipelines.notifications.wording import hours, moment, until
from litgo_pipelines.notifications.zones import BRASILIA, Zone

LONGEST_PUSH = 170  # characters; phones cut what is longer
COMPLEXITY = {"LOW": "baixa", "MEDIUM": "média", "HIGH": "alta"}
ADDRESS = {
    "not_an_address": "não é um endereço",
    "bounces": "as mensagens voltam",
    "blocks": "o servidor de destino as recusa",
    "invalid_emails": "a caixa ou o domínio não existe",
    "spam_reports": "a pessoa as marcou como spam",
    "unsubscribes": "a pessoa cancelou o recebimento de e-mails",
}
# kind → one, several
TITLES = {
    "offer": ("Nova oferta de caso", "novas ofertas de casos"),
    "contract_to_sign": ("Contrato pronto para assinar", "contratos prontos para assinar"),
    "contract_manual": ("Contrato para assinatura manual", "contratos para assinatura manual"),
    "contract_reminder": ("Contrato: falta a sua assinatura", "contratos sem a sua assinatura"),
    "contract_overdue": ("Contrato em papel vencido", "contratos em papel vencidos"),
    "contract_refused": ("Contrato com dados a corrigir", "contratos com dados a corrigir"),
    "docusign_fails": ("DocuSign sem resposta útil", "avisos sobre o DocuSign"),
    "contract_signed": ("Contrato assinado", "contratos assinados"),
    "contract_voided": ("Contrato cancelado", "contratos cancelados"),
    "model_promoted": ("Novo modelo em uso", "novos modelos em uso"),
    "model_rolled_back": ("Modelo revertido", "modelos revertidos"),
    "promotion_frozen": ("Promoção de modelos suspensa", "promoções de modelos suspensas"),
    "experiment_halted": ("Experimento interrompido", "experimentos interrompidos"),
    "public_numbers": ("Recebemos o seu caso", "casos recebidos"),
    "case_waits": ("Caso sem advogado(a)", "casos sem advogado(a)"),
    "case_failed": ("Caso que não pôde ser oferecido", "casos que não puderam ser oferecidos"),
    "case_review": ("Caso para revisar", "casos para revisar"),
    "case_without_contract": ("Caso sem contrato", "casos sem contrato"),
    "case_repeats": ("Caso repetido de um encerrado", "casos repetidos de encerrados"),
    "state_unknown": ("Situação desconhecida no marketplace", "situações desconhecidas no marketplace"),
    "lawyers_interested": ("Há interesse no seu caso", "casos seus com interesse"),
    "address_bad": ("Endereço de e-mail que não serve", "endereços de e-mail que não servem"),
    "message_dead": ("Mensagem não entregue", "mensagens não entregues"),
    "rows_gone": ("Faltam linhas no banco do marketplace", "tabelas do marketplace com linhas a menos"),
    "run_failed": ("Execução falhou", "execuções falharam"),
}


@dataclass(frozen=True)
class Item:
    """One message of the outbox. `facts`: what its sentence needs beyond the payload, as `facts.sql` reads it."""

    kind: str
    payload: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Words:
    """`title` and `push` for the phone; `subject`, `text`, `html` for the e-mail."""

    title: str
    push: str
    subject: str
    text: str
    html: str


def words(items: Sequence[Item], name: str | None = None, *, team: bool = False, zone: Zone = BRASILIA) -> Words:
    """What to say of `items`, in their order, to one person of this name, or to the team. `zone`: the reader's.

    Raises LookupError, TypeError or ValueError for a message that cannot be put into words.
    """
    sentences = [sentence(item, team=team, zone=zone) for item in items]
    if len(items) == 1:
        title, push = TITLES[items[0].kind][0], sentences[0]
    elif {item.kind for item in items} == {"offer"}:
        title = f"{len(items)} {TITLES['offer'][1]}"
        push = f"{title} esperam sua resposta, a primeira até {until(min(_expiry(item) for item in items), zone)}."
    else:
        counts = Counter(item.kind for item in items)
        title = f"{len(items)} novidades na LITGO"
        push = "; ".join(f"{n} {TITLES[kind][1]}" if n > 1 else TITLES[kind][0] for kind, n in counts.items())
    if any(item.kind == "public_numbers" for item in items):  # says nothing of the case to whoever sees the phone
        rest = push if len(items) > 1 else title
        push = f"Telefones públicos, 24 horas: {', '.join(numbers())}. {rest}"
    first = first_name(name)
    greeting = f"Olá, {first}!" if first else "Olá!"
    closing = "" if team else "Abra o aplicativo da LITGO para ver os detalhes."
    parts = [greeting, *([f"{title}:"] if len(items) > 1 else []), *sentences, closing, "Equipe LITGO"]
    parts = [part for part in parts if part]
    body = "".join(f"<p>{escape(part)}</p>" for part in parts)
    return Words(
        title=title,
        push=push if len(push) <= LONGEST_PUSH else push[: LONGEST_PUSH - 1].rstrip() + "…",
        subject=f"LITGO: {title[0].lower() + title[1:]}",
        text="\n\n".join(parts) + "\n",
        html=f'<!DOCTYPE html><html lang="pt-BR"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body>{body}</body></html>",
    )


def sentence(item: Item, *, team: bool = False, zone: Zone = BRASILIA) -> str:
    """One message in a sentence or two. Raises as `words`."""
    payload, facts = item.payload, item.facts
    if item.kind.startswith(("contract_", "docusign_")):
        return contract_words.sentence(item.kind, payload, facts, team=team)
    if item.kind.startswith("case_"):
        return _case(item, zone, team=team)
    match item.kind:
        case "offer":
            return _offer(item, zone)
        case "public_numbers":
            return f"Recebemos o seu caso e ele tem prioridade. {help_text()}"
        case "state_unknown":
            named = f"«{payload['state']}»" if payload["state"] else "vazia ou ilegível"
            return (
                f"Na tabela {payload['table']} a situação (status) {named} não é nenhuma das conhecidas: "
                f"{_thousands(payload['rows'])} {'linha' if payload['rows'] == 1 else 'linhas'}. Ninguém trata dessas "
                "linhas: corrija-as no marketplace, ou ensine a situação ao mapeamento (docs/your-database.md)."
            )
        case "lawyers_interested":
            return "Há advogado(a) com interesse no seu caso. Escolha com quem você quer seguir."
        case "address_bad":
            return (
                f"O endereço de e-mail do perfil {payload['person_id']} não serve: {ADDRESS[payload['why']]}. "
                "Fale com a pessoa de outra forma e corrija o endereço no perfil."
            )
        case "message_dead":
            return (
                f"A mensagem {payload['message_id']} ({TITLES[payload['about']][0].lower()}) não pôde ser entregue em "
                "um dia. Fale com a pessoa de outra forma; `litgo dead-letters` mostra o motivo."
            )
        case "model_promoted" | "model_rolled_back":
            before = _instead_of(payload.get("previous"))
            return f"{TITLES[item.kind][0]}: versão {payload['version']}{before}. {_why(payload)}"
        case "promotion_frozen":
            return f"Nenhum modelo será promovido até que alguém libere. {_why(payload)}"
        case "experiment_halted":
            return f"O experimento {payload['experiment']} foi interrompido. {_why(payload)}"
        case "rows_gone":
            return (
                f"A tabela {payload['table']} tinha {_thousands(payload['before'])} linhas em "
                f"{moment(datetime.fromisoformat(payload['counted_at']), zone)} e agora mostra "
                f"{_thousands(payload['rows'])}. Até que alguém verifique, nenhum caso é oferecido e nada é calculado "
                "sobre ela. Se estiver certo: `litgo doctor --accept-counts`."
            )
        case "run_failed":
            tries = "1 tentativa" if payload["tries"] == 1 else f"{payload['tries']} tentativas"
            where = f", em {', '.join(payload['steps'])}" if payload["steps"] else ""
            return (
                f"O job {payload['job_name']} falhou depois de {tries}{where}. O erro está no Dagster, na execução "
                f"{payload['run_id']}. Responsável: {payload['owner'].removeprefix('team:')}."
            )
    raise LookupError(f"no words for the kind {item.kind!r}")


def _case(item: Item, zone: Zone, *, team: bool) -> str:
    """A message about a case, to the team or to its client."""
    payload = item.payload
    match item.kind:
        case "case_waits":
            return _waits(payload, item.facts, zone, team=team)
        case "case_review":
            return f"O caso {payload['case_id']} espera a decisão de uma pessoa: `litgo triagem fila` mostra por quê."
        case "case_without_contract":
            return (
                f"O caso {payload['case_id']} está atribuído, mas não tem contrato em aberto nem advogado(a) com "
                "interesse. Verifique com o cliente o que deve acontecer."
            )
        case "case_repeats":
            return (
                f"O caso {payload['case_id']} repete o caso {payload['of_case_id']}, que já foi encerrado. Encerre-o "
                "também no marketplace; se for outro assunto, peça ao cliente que edite o texto, e ele é oferecido."
            )
        case "case_failed":
            return (
                f"O caso {payload['case_id']} não pôde ser oferecido: houve um erro em todas as tentativas desde "
                f"{moment(datetime.fromisoformat(payload['since']), zone)}. Ele é tentado de novo uma vez por dia; "
                "`litgo casos parados` mostra o motivo."
            )
    raise LookupError(f"no words for the kind {item.kind!r}")


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", ".")


def ttl_seconds(items: Sequence[Item], now: datetime) -> int | None:
    """How long a push may wait for the phone: an offer is of no use once it has expired. None: the provider's own."""
    if any(item.kind != "offer" for item in items):
        return None
    return max(60, int((max(_expiry(item) for item in items) - now).total_seconds()))


def _offer(item: Item, zone: Zone) -> str:
    facts = item.facts
    area, subarea, urgency = facts.get("area"), facts.get("subarea"), facts.get("urgency_h")
    matter = f"Área: {area}{f' ({subarea})' if subarea else ''}. " if area else ""
    complexity = COMPLEXITY.get(facts.get("complexity") or "")
    return (
        "Um caso espera sua resposta. "
        + matter
        + (f"Urgência: {hours(urgency)}. " if urgency else "")
        + (f"Complexidade {complexity}. " if complexity else "")
        + f"Responda até {until(_expiry(item), zone)}."
    )


def _waits(payload: Mapping[str, str], facts: Mapping[str, object], zone: Zone, *, team: bool) -> str:
    over = {"nobody": False, "rounds_over": True}[payload["reason"]]
    if not team:
        if over:
            return (
                "Até agora nenhum(a) advogado(a) aceitou o seu caso. A equipe da LITGO foi avisada e procura outra "
                "solução com você. Se surgir um(a) advogado(a) disponível, o caso volta a ser oferecido."
            )
        return (
            "Ainda não há advogado(a) disponível para o seu caso. Continuamos procurando, e você não precisa fazer "
            "nada: assim que houver novidade, avisamos."
        )
    area = f" ({facts['area']})" if facts.get("area") else ""
    why = "nenhum(a) advogado(a) aceitou em todas as rodadas" if over else "nenhum(a) advogado(a) está disponível"
    since = moment(datetime.fromisoformat(payload["since"]), zone)
    return (
        f"O caso {payload['case_id']}{area} espera desde {since}: {why}. "
        "O cliente foi ou será avisado. `litgo casos parados` mostra todos."
    )


def _expiry(item: Item) -> datetime:
    return datetime.fromisoformat(item.payload["expires_at"])


def _instead_of(previous: str | None) -> str:
    if not previous:
        return ""
    return " no lugar dos pesos fixos" if previous == "hand weights" else f" no lugar da {previous}"


def _why(payload: Mapping[str, str]) -> str:
    return f"Motivo: {payload['reason'].rstrip('.')}."
