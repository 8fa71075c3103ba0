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
from zoneinfo import ZoneInfo

from litgo_pipelines.marketplace.public_numbers import help_text, numbers

ZONE = ZoneInfo("America/Sao_Paulo")
LONGEST_PUSH = 170  # characters; phones cut what is longer
COMPLEXITY = {"LOW": "baixa", "MEDIUM": "média", "HIGH": "alta"}
# kind → one, several
TITLES = {
    "offer": ("Nova oferta de caso", "novas ofertas de casos"),
    "contract_to_sign": ("Contrato pronto para assinar", "contratos prontos para assinar"),
    "contract_manual": ("Contrato para assinatura manual", "contratos para assinatura manual"),
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
    "lawyers_interested": ("Há interesse no seu caso", "casos seus com interesse"),
    "message_dead": ("Mensagem não entregue", "mensagens não entregues"),
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


def words(items: Sequence[Item], name: str | None = None, *, team: bool = False) -> Words:
    """What to say of `items`, in their order, to one person of this name, or to the team.

    Raises LookupError, TypeError or ValueError for a message that cannot be put into words.
    """
    sentences = [sentence(item, team=team) for item in items]
    if len(items) == 1:
        title, push = TITLES[items[0].kind][0], sentences[0]
    elif {item.kind for item in items} == {"offer"}:
        title = f"{len(items)} {TITLES['offer'][1]}"
        push = f"{title} esperam sua resposta, a primeira até {instant(min(_expiry(item) for item in items))}."
    else:
        counts = Counter(item.kind for item in items)
        title = f"{len(items)} novidades na LITGO"
        push = "; ".join(f"{n} {TITLES[kind][1]}" if n > 1 else TITLES[kind][0] for kind, n in counts.items())
    if any(item.kind == "public_numbers" for item in items):  # says nothing of the case to whoever sees the phone
        rest = push if len(items) > 1 else title
        push = f"Telefones públicos, 24 horas: {', '.join(numbers())}. {rest}"
    first = (name or "").split()
    greeting = f"Olá, {first[0]}!" if first else "Olá!"
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


def sentence(item: Item, *, team: bool = False) -> str:
    """One message in a sentence or two. Raises as `words`."""
    payload, facts = item.payload, item.facts
    match item.kind:
        case "offer":
            area, subarea = facts.get("area"), facts.get("subarea")
            matter = f"Área: {area}{f' ({subarea})' if subarea else ''}. " if area else ""
            urgency = facts.get("urgency_h")
            complexity = COMPLEXITY.get(facts.get("complexity") or "")
            return (
                "Um caso espera sua resposta. "
                + matter
                + (f"Urgência: {hours(urgency)}. " if urgency else "")
                + (f"Complexidade {complexity}. " if complexity else "")
                + f"Responda até {instant(_expiry(item))}."
            )
        case "contract_to_sign":
            return "O contrato está pronto. O DocuSign envia por e-mail o link para assinar." + _fee(facts)
        case "contract_manual":
            until = day(datetime.fromisoformat(payload["due_at"]))
            if team:
                return (
                    f"O contrato {payload['contract_id']} será assinado sem o DocuSign. "
                    f"Acompanhe as assinaturas e registre-as até {until}."
                )
            return (
                "O contrato será assinado sem o DocuSign. Assine o documento e devolva-o à equipe da LITGO "
                f"até {until}." + _fee(facts)
            )
        case "contract_signed":
            return "O contrato foi assinado pelas duas partes e está em vigor."
        case "contract_voided":
            return "O contrato que esperava assinatura foi cancelado."
        case "public_numbers":
            return f"Recebemos o seu caso e ele tem prioridade. {help_text()}"
        case "case_waits":
            return _waits(payload, facts, team=team)
        case "case_review":
            return f"O caso {payload['case_id']} espera a decisão de uma pessoa: `litgo triagem fila` mostra por quê."
        case "case_without_contract":
            return (
                f"O caso {payload['case_id']} está atribuído, mas não tem contrato em aberto nem advogado(a) com "
                "interesse. Verifique com o cliente o que deve acontecer."
            )
        case "lawyers_interested":
            return "Há advogado(a) com interesse no seu caso. Escolha com quem você quer seguir."
        case "message_dead":
            return (
                f"A mensagem {payload['message_id']} ({TITLES[payload['about']][0].lower()}) não pôde ser entregue em "
                "um dia. Fale com a pessoa de outra forma; `litgo dead-letters` mostra o motivo."
            )
        case "case_failed":
            return (
                f"O caso {payload['case_id']} não pôde ser oferecido: houve um erro em todas as tentativas desde "
                f"{instant(datetime.fromisoformat(payload['since']))}. Ele é tentado de novo uma vez por dia; "
                "`litgo casos parados` mostra o motivo."
            )
        case "model_promoted" | "model_rolled_back":
            before = _instead_of(payload.get("previous"))
            return f"{TITLES[item.kind][0]}: versão {payload['version']}{before}. {_why(payload)}"
        case "promotion_frozen":
            return f"Nenhum modelo será promovido até que alguém libere. {_why(payload)}"
        case "experiment_halted":
            return f"O experimento {payload['experiment']} foi interrompido. {_why(payload)}"
        case "run_failed":
            tries = "1 tentativa" if payload["tries"] == 1 else f"{payload['tries']} tentativas"
            where = f", em {', '.join(payload['steps'])}" if payload["steps"] else ""
            return (
                f"O job {payload['job_name']} falhou depois de {tries}{where}. O erro está no Dagster, na execução "
                f"{payload['run_id']}. Responsável: {payload['owner'].removeprefix('team:')}."
            )
    raise LookupError(f"no words for the kind {item.kind!r}")


def ttl_seconds(items: Sequence[Item], now: datetime) -> int | None:
    """How long a push may wait for the phone: an offer is of no use once it has expired. None: the provider's own."""
    if any(item.kind != "offer" for item in items):
        return None
    return max(60, int((max(_expiry(item) for item in items) - now).total_seconds()))


def instant(at: datetime) -> str:
    """dd/mm/yyyy HH:MM in São Paulo. Raises ValueError without a zone."""
    if at.tzinfo is None:
        raise ValueError("an instant without a zone")
    return f"{at.astimezone(ZONE):%d/%m/%Y %H:%M}"


def day(at: datetime) -> str:
    """dd/mm/yyyy in São Paulo. Raises as `instant`."""
    return instant(at).split()[0]


def hours(value: float) -> str:
    """8 horas, 3 dias."""
    if value >= 48 and value % 24 == 0:
        return f"{value / 24:g} dias"
    return f"{value:g} hora{'' if value == 1 else 's'}".replace(".", ",")


def money(value: float) -> str:
    """Reais as Brazil writes them: R$ 1.234,50."""
    return "R$ " + f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def _waits(payload: Mapping[str, Any], facts: Mapping[str, Any], *, team: bool) -> str:
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
    return (
        f"O caso {payload['case_id']}{area} espera desde {instant(datetime.fromisoformat(payload['since']))}: {why}. "
        "O cliente foi ou será avisado. `litgo casos parados` mostra todos."
    )


def _expiry(item: Item) -> datetime:
    return datetime.fromisoformat(item.payload["expires_at"])


def _instead_of(previous: str | None) -> str:
    if not previous:
        return ""
    return " no lugar dos pesos fixos" if previous == "hand weights" else f" no lugar da {previous}"


def _why(payload: Mapping[str, Any]) -> str:
    return f"Motivo: {str(payload['reason']).rstrip('.')}."


def _fee(facts: Mapping[str, Any]) -> str:
    """The fee, where it is one of the two plain forms; the contract itself has all of them."""
    model = facts.get("fee_model") or {}
    if model.get("type") == "fixed" and isinstance(model.get("value"), int | float):
        return f" Honorários: {money(model['value'])}."
    if model.get("type") == "success" and isinstance(model.get("percent"), int | float):
        return f" Honorários: {model['percent']:g}".replace(".", ",") + " % do resultado."
    return ""
