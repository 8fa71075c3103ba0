"""Words of messages about contracts: to sign, on paper, reminded of, overdue, refused, ended. Pure.

A due date is a day: until its end by everybody's clock, so that it needs no zone.
"""

from collections.abc import Mapping
from datetime import datetime

from litgo_pipelines.marketplace.fees import FeeError
from litgo_pipelines.marketplace.fees import fee as parse_fee
from litgo_pipelines.notifications.wording import day, money

# Why on paper: for the team, which has to do something about it.
PAPER = {
    "no_email": "falta um endereço de e-mail válido (até 100 caracteres) de uma das partes: corrija-o no perfil",
    "same_email": "as duas partes têm a mesma caixa de e-mail no perfil: uma assinaria pela outra",
    "email_bounced": "o e-mail do DocuSign a uma das partes voltou: corrija o endereço no perfil",
    "envelope_missing": "o DocuSign não conhece mais o envelope",
    "envelope_deleted": "o envelope foi apagado no DocuSign",
    "recipients_replaced": "no DocuSign há outras pessoas no lugar das partes (nome ou endereço diferente do nosso): "
    "confira o envelope antes de aceitar qualquer assinatura dele",
    "not_signed": "ninguém concluiu o envelope no prazo",
    "docusign_unreachable": "o prazo passou e o DocuSign não responde",
    "rejected": "o DocuSign recusou o pedido",
    "rate_limited": "o limite de chamadas ao DocuSign foi atingido",
}
# Why nothing was sent: what is to be corrected, for all three.
REFUSED = {
    "no_offer": "não há oferta aceita por este(a) advogado(a) para o caso",
    "created_unknown": "a data de criação não é válida",
    "reopened": "já tinha terminado e voltou a esperar assinatura: cancele-o e peça um novo",
    "own_case": "cliente e advogado(a) são a mesma pessoa",
    "second_contract": "o caso já tem outro contrato em aberto: cancele o que não vale",
    "too_old": "foi criado há mais de 30 dias: se ainda fizer sentido, peça um novo",
    "fee_model_unknown": "o modelo de honorários não é conhecido: escolha êxito, valor fixo, por hora ou pro bono",
    "fee_value_invalid": "o valor dos honorários não é um número que faça sentido: escreva, por exemplo, 5000 ou 20",
    "fee_two_figures": "há dois valores de honorários: deixe só o do modelo escolhido, ou escreva um só valor",
    "client_missing": "falta o nome do(a) cliente no perfil",
    "lawyer_missing": "falta o nome do(a) advogado(a) no perfil",
    "oab_missing": "falta o número da OAB no perfil do(a) advogado(a)",
    "letters_not_printable": "um nome está em letras que o documento não mostra: escreva-o em letras latinas",
    "failed": "houve um erro nosso ao preparar o documento, e a equipe de dados vê qual",
}
VOIDED = {
    "declined": "uma das partes recusou assiná-lo",
    "signed": "depois disso as duas partes ainda o assinaram",
}
DOCUSIGN = {
    "consent_required": "falta o consentimento: um administrador abre uma vez o endereço de consentimento e aceita",
    "invalid_grant": "as chaves não combinam ou foram revogadas: confira DOCUSIGN_* no ambiente",
    "invalid_client": "a chave de integração não é conhecida: confira DOCUSIGN_INTEGRATION_KEY",
}


def sentence(kind: str, payload: Mapping[str, str], facts: Mapping[str, object], *, team: bool) -> str:
    """One message. Raises LookupError, TypeError or ValueError for one that cannot be put into words."""
    match kind:
        case "contract_to_sign":
            return (
                "O contrato está pronto. O DocuSign envia por e-mail o link para assinar."
                + (f" Assine até {_day(payload)}." if "due_at" in payload else "")
                + fee(facts)
            )
        case "contract_manual":
            return _on_paper(payload, facts, team=team)
        case "contract_reminder":
            how = "pelo link que o DocuSign enviou" if payload["method"] == "docusign" else "no documento que enviamos"
            return f"Falta a sua assinatura no contrato. Assine {how} até {_day(payload)}."
        case "contract_overdue":
            return (
                f"O prazo do contrato {payload['contract_id']}, a assinar em papel, terminou "
                f"em {day(datetime.fromisoformat(payload['due_at']))}. Fale com as partes: colha as assinaturas ou "
                "cancele o contrato no marketplace. `litgo contrato tarefas` mostra quem falta."
            )
        case "contract_refused":
            return _refused(payload, team=team)
        case "contract_signed":
            return "O contrato foi assinado pelas duas partes e está em vigor."
        case "contract_voided":
            if not team and payload.get("reason") == "signed":
                return (
                    "O contrato assinado no DocuSign já estava cancelado na LITGO e não está em vigor aqui. A equipe "
                    "da LITGO foi avisada e fala com você."
                )
            if not team:
                return "O contrato que esperava assinatura foi cancelado."
            why = VOIDED.get(payload["reason"], "o envelope foi anulado")
            return (
                f"O contrato {payload['contract_id']} foi cancelado: {why} no DocuSign. Pergunte às partes se querem "
                "outro contrato."
            )
        case "docusign_fails":
            code = str(payload["code"])
            what = DOCUSIGN.get(code, "confira DOCUSIGN_* no ambiente e a conta no DocuSign")
            return (
                f"O DocuSign não responde como deve ({code}): {what}. Os contratos continuam: o que não puder ser "
                "assinado até o prazo segue em papel."
            )
    raise LookupError(f"no words for the kind {kind!r}")


def _on_paper(payload: Mapping[str, str], facts: Mapping[str, object], *, team: bool) -> str:
    if not team:
        return (
            "O contrato será assinado sem o DocuSign. Assine o documento e devolva-o à equipe da LITGO "
            f"até {_day(payload)}." + fee(facts)
        )
    why = PAPER.get(payload.get("reason") or "")
    return (
        f"O contrato {payload['contract_id']} será assinado sem o DocuSign{f': {why}' if why else ''}. "
        f"Acompanhe as assinaturas e registre-as até {_day(payload)}."
    )


def _refused(payload: Mapping[str, str], *, team: bool) -> str:
    what = REFUSED[payload["reason"]]
    if team:
        return (
            f"O contrato {payload['contract_id']} não pôde ser preparado: {what}. Corrija os dados no marketplace; ele "
            "é tentado de novo em no máximo 24 horas."
        )
    return (
        f"O contrato ainda não pôde ser preparado: {what}. Se o dado é seu, corrija-o no aplicativo; a equipe da LITGO "
        "também foi avisada, e o contrato segue assim que estiver certo."
    )


def _day(payload: Mapping[str, str]) -> str:
    return f"o fim do dia {day(datetime.fromisoformat(payload['due_at']))}"


def fee(facts: Mapping[str, object]) -> str:
    """The fee, where it is one of the two plain forms; the contract itself has all of them."""
    try:
        agreed = parse_fee(facts.get("fee_model"))
    except FeeError:
        return ""
    match agreed.kind:
        case "fixed":
            return f" Honorários: {money(float(agreed.figure))}."
        case "success":
            return f" Honorários: {agreed.figure.normalize():f}".replace(".", ",") + " % do resultado."
        case "pro_bono":
            return " Sem honorários (pro bono)."
    return ""
