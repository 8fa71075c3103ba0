"""Personal data that is known by its form or by a word before it: documents, contact data, places. Pure.

Each rule is looked for only in texts that hold one of its signs. Those with a keyword come first; then what is harmless
(dates of facts, money, law numbers, years) is set aside, and the rest is judged by its form alone.

Every repetition is bounded or over one set of characters, so that no text takes more than linear time.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from litgo_pipelines.intake.masking.findings import Findings
from litgo_pipelines.intake.masking.spoken import ALONE, NUMBER_WORD, SIGNS, SPOKEN
from litgo_pipelines.intake.masking.vocabulary import words

UF = "(?:ac|al|ap|am|ba|ce|df|es|go|ma|mt|ms|mg|pa|pb|pr|pe|pi|rj|rn|rs|ro|rr|sc|sp|se|to)"
_MONTH = (
    "(?:jan(?:eiro)?|fev(?:ereiro)?|mar(?:co)?|abr(?:il)?|mai(?:o)?|jun(?:ho)?|jul(?:ho)?|ago(?:sto)?|set(?:embro)?"
    "|out(?:ubro)?|nov(?:embro)?|dez(?:embro)?)"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_SEP = r"[\s.,\-/_*|:;()+~]"
_DIGIT = r"(?:\d|[oil](?=[\d.\-])|(?<=[\d.\-])[oil](?!\w))"  # o and l typed for 0 and 1
_SPOKEN_SEP = r"\s(?:ponto|traco|tracinho|barra|hifen|digito)\s"
_NO_SLASH = r"[\s.\-]{0,3}"


def digits(least: int, most: int, sep: str = rf"(?:{_SEP}{{0,4}}|{_SPOKEN_SEP})") -> str:
    return rf"{_DIGIT}(?:{sep}{_DIGIT}){{{least - 1},{most - 1}}}(?!\d)"


class Rule(NamedTuple):
    placeholder: str
    signs: tuple[str, ...]  # each match begins with one of them; none: with a number or a word before it
    pattern: re.Pattern[str]
    accept: Callable[[re.Match[str]], bool] | None = None


def _year(text: str) -> bool:
    return bool(re.fullmatch(r"(?:19|20)\d\d", text))


_MONEY_AFTER = re.compile(r",\d|\s?(?:reais|mil\b|anos|dias|meses|vezes|horas|%)")
_DATE_ONLY = re.compile(r"\d{1,2}[/.\-]\d{1,2}[/.\-](?:\d{2}|(?:19|20)\d\d)|(?:0?[1-9]|1[0-2])/(?:19|20)\d\d")


def _no_year(found: re.Match[str]) -> bool:
    """Nor a date, nor money."""
    value = found["v"].strip()
    return not (_year(value) or _DATE_ONLY.fullmatch(value) or _MONEY_AFTER.match(found.string, found.end("v")))


def cpf(number: str) -> bool:
    """Whether the check digits of an 11-digit number are those of a CPF."""
    for length in (9, 10):
        total = sum(int(digit) * (length + 1 - place) for place, digit in enumerate(number[:length]))
        if total * 10 % 11 % 10 != int(number[length]):
            return False
    return True


def cnpj(number: str) -> bool:
    """Whether the check digits of a CNPJ's 14 characters are right; letters count as their code minus 48."""
    for length in (12, 13):
        weights = [(length - 1 - place) % 8 + 2 for place in range(length)]
        left = sum((ord(each) - 48) * weight for each, weight in zip(number.upper(), weights, strict=False)) % 11
        if (0 if left < 2 else 11 - left) != int(number[length]):
            return False
    return True


def _real_cnpj(found: re.Match[str]) -> bool:
    number = re.sub("[^0-9a-z]", "", found[0])
    return len(number) == 14 and sum(each.isdigit() for each in number) >= 4 and cnpj(number)


def _like_cnpj(found: re.Match[str]) -> bool:
    number = re.sub("[^0-9a-z]", "", found["v"])
    return sum(each.isdigit() for each in number) >= 4 or cnpj(number)


def _keyword(placeholder: str, signs: str, words: str, value: str, far: int = 40, *, years: bool = True) -> Rule:
    """A value at most `far` characters after a word, no digit between them."""
    pattern = rf"(?<![^\W_])(?:{words})(?![^\W\d_])[^\d\x01\x02]{{0,{far}}}?(?<![^\W_])(?P<v>{value})"
    return Rule(placeholder, tuple(signs.split("|")), re.compile(pattern), None if years else _no_year)


def _words(placeholder: str, signs: str, words: str) -> Rule:
    """A number said in words at most 40 characters after a word."""
    pattern = rf"(?<![^\W_])(?:{words})(?![^\W\d_])[^\d\x01\x02]{{0,40}}?\b(?P<v>{SPOKEN})"
    return Rule(placeholder, tuple(signs.split("|")), re.compile(pattern))


_CPF = r"c\.?\s?p\.?\s?f\.?(?:/mf)?"
_RG = r"r\.?\s?g\.?|(?:carteira|cedula|documento)\s+de\s+identidade|identidade|registro geral|cin"
_PHONE = (
    r"tel(?:efones?|s)?\.?|fones?|cel(?:ular(?:es)?)?\.?|zap(?:zap)?|whats(?:app)?|watts?app|wpp|contato"
    r"|lig(?:ue|a|ar|uem)"
    r"|ligou|chama(?:r|ndo)?|numero|num|recado|fixo|residencial|comercial|disque|telegram|sms|fala comigo"
)
_BIRTH = r"nasc(?:i(?:d[oa]s?|mento)?|eu|er?am|\.)?|d\.?\s?n\.?|aniversario|nascida|veio ao mundo"
_DATE = (
    rf"(?:{_DAY}\s?[/.\-\s]\s?(?:0?[1-9]|1[0-2]|{_MONTH})\s?[/.\-\s]\s?(?:\d{{4}}|\d\.?\d{{3}}|\d{{2}})(?!\d)"
    rf"|(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.]{_DAY}(?!\d)|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19"
    rf"|20)\d\d(?!\d)"
    rf"|(?:{_DAY}[oº]?|primeiro)\s?(?:de|do|/)?\s?{_MONTH}\b\.?(?:\s?(?:de|do ano de|,|/)?\s?(?:(?:19|20)\d\d"
    rf"|\d\.\d{{3}}|\d\d)\b)?"
    rf"|{_DAY}/(?:0?[1-9]|1[0-2])(?![\d/])"
    rf"|{NUMBER_WORD}(?:\s(?:e\s)?{NUMBER_WORD}){{0,2}}\sd[eo]\s{NUMBER_WORD}\sde\s{NUMBER_WORD}(?:\s(?:e\s)?{NUMBER_WORD}){{0,8}}"
    rf"|{NUMBER_WORD}(?:\s(?:e\s)?{NUMBER_WORD}){{0,2}}\sde\s{_MONTH}\b(?:\sde\s{NUMBER_WORD}(?:\s(?:e\s)?{NUMBER_WORD}){{0,8}}"
    r"|\sde\s(?:19|20)\d\d)?)"
)
_OAB_NUMBER = (
    rf"(?:{UF}[\s.\-/]{{0,3}})?\d{{1,3}}(?:[.\s]?\d{{3}}|\d{{0,3}})(?!\d)(?:\s?[/-]\s?[a-e]\b)?(?:"
    rf"[\s/,(-]{{1,3}}{UF}\b|{UF}\b)?\)?"
)

KEYWORDED: tuple[Rule, ...] = (
    _keyword("[NASCIMENTO]", "nasc|dn|d.n|d. n|d n|aniversario|veio ao", _BIRTH, _DATE),
    _keyword("[CNPJ]", "cnpj|c.n.p.j|cgc", r"c\.?n\.?p\.?j\.?(?:/mf)?|cgc", digits(12, 14)),
    _keyword(
        "[CNPJ]",
        "cnpj|c.n.p.j",
        r"c\.?n\.?p\.?j\.?(?:/mf)?",
        r"(?!(?:no?|sob|de|da|do|e|eh|o|numero)[\s.:])[0-9a-z]{2}(?:[\s.\-/]{0,3}[0-9a-z]){10}[\s.\-/]{0,3}\d\s?\d\b",
    )._replace(accept=_like_cnpj),
    _keyword(
        "[CNPJ]",
        "cnpj|c.n.p.j",
        r"c\.?n\.?p\.?j\.?(?:/mf)?[^a-z0-9]{0,4}(?:no?|numero)\b",
        r"[0-9a-z]{2}(?:[\s.\-/]{0,3}[0-9a-z]){10}[\s.\-/]{0,3}\d\s?\d\b",
    )._replace(accept=_like_cnpj),
    _keyword(
        "[CPF]",
        "cpf|c.p.f|c p f|c. p. f|cic",
        rf"{_CPF}|cic",
        rf"{digits(9, 11)}|[*x\d]{{3}}\.[*x\d]{{3}}\.[*x\d]{{3}}-[*x\d]{{2}}",
    ),
    _words("[CPF]", "cpf|c.p.f|c p f", _CPF),
    _words("[CNPJ]", "cnpj", "cnpj"),
    _keyword(
        "[CNH]",
        "cnh|c.n.h|habilitacao|carteira de motorista|renach",
        r"c\.?n\.?h\.?|habilitacao|carteira de motorista|renach",
        rf"(?:{UF}\s?)?{digits(9, 12, _NO_SLASH)}",
    ),
    _words("[CNH]", "cnh|habilitacao|carteira de motorista", "cnh|habilitacao|carteira de motorista"),
    Rule(
        "[OAB]",
        ("oab", "o.a.b"),
        re.compile(
            rf"(?<![^\W_])o\.?a\.?b\.?(?:[^\w\x01\x02]{{0,4}}{UF}\b)?[^\d\x01\x02.;!?]{{0,6}}(?:n"
            rf"[.o]{{0,2}}\s?)?(?P<n>{_OAB_NUMBER})"
        ),
        lambda found: not _year(re.sub(r"\D", "", found["n"])) or bool(re.search(rf"{UF}|n", found[0][3:])),
    ),
    _keyword(
        "[OAB]",
        "oab|ordem dos|inscricao na|inscrit",
        r"oab|ordem dos|inscricao na|inscrit[oa] na ordem|inscrit[oa] na seccional",
        _OAB_NUMBER,
        50,
        years=False,
    ),
    _words("[OAB]", "oab", "oab"),
    _keyword(
        "[PASSAPORTE]", "passaporte|passport", "passaporte|passport", r"[a-z]{0,3}[\s-]?\d(?:[\s.-]?\d){4,8}(?!\d)"
    ),
    _keyword("[PASSAPORTE]", "passaporte|passport", "passaporte|passport", r"[a-z]{1,2}[\s-]?\d{6,7}(?!\d)"),
    _keyword(
        "[RNE]",
        "rne|rnm|crnm|r.n.|registro |refugi|protocolo de ref",
        r"r\.?n\.?[em]\.?|crnm|registro (?:nacional )?(?:de )?(?:estrangeiro|migratorio)"
        r"|(?:protocolo de )?refugi(?:o|ado)",
        r"(?:[a-z][\s.\-]?)?\d(?:[\s.\-/]?\d){5,8}(?:[\s.\-]?[0-9a-z])?(?!\w)",
    ),
    _keyword(
        "[RNE]",
        "rne|rnm|crnm",
        "rne|rnm|crnm",
        r"[a-z][\s.-]?\d(?:[\s.\-]?\d){5,7}(?:[\s.\-]?"
        r"[0-9a-z])?(?!\w)",
    ),
    _keyword(
        "[TÍTULO]",
        "titulo|eleitor",
        r"titulos?(?:\s(?:de\s)?eleitor(?:al)?)?|eleitor(?:al)?",
        rf"{digits(10, 13, _NO_SLASH)}(?:[\s,;]{{0,3}}zona\s?:?\s?\d{{1,4}})?"
        rf"(?:[\s,;e]{{0,4}}sec(?:ao)?\.?\s?:?\s?\d{{1,4}})?",
    ),
    _words("[TÍTULO]", "titulo|eleitor", "titulo(?: de eleitor)?"),
    _keyword(
        "[PIS]",
        "pis|pasep|nis|nit|ctps|carteira de trabalho|cns|cartao |cadunico|n.i.s",
        r"pis(?:/pasep)?|pasep|n\.?i\.?s\.?|nit|ctps|carteira de trabalho|cns|cartao (?:do )?sus"
        r"|cartao nacional de saude|cadunico",
        rf"{digits(5, 15, _NO_SLASH)}(?:[\s,/\-]{{0,3}}serie\s?:?\s?\d{{1,5}}(?:[\s/-]{{0,2}}{UF}\b)?)?",
    ),
    _words("[PIS]", "pis|pasep|nis|nit", "pis|pasep|nis|nit"),
    Rule(  # a word with a figure in it, right behind: «a senha foi trocada em 2023» names none
        "[SENHA]",
        ("senha", "password", "cvv", "cvc", "codigo de seguranca"),
        re.compile(
            r"(?<![^\W_])(?:senhas?|password|cvv|cvc|codigo de seguranca)(?: d[aeo] [\w.]{1,20}){0,2}"
            r"\s?(?:[:=]|(?:e|eh|era)\s)?\s?(?P<v>(?=[^\s,;]{0,30}\d)[^\s,;\x01\x02]{3,40})"
        ),
    ),
    Rule(  # that somebody was sent; of laws too, whose years and short numbers stay
        "[SENHA]",
        ("token", "pin", "otp", "codigo"),
        re.compile(
            r"(?<![^\W_])(?:tokens?|pin|otp|codigos?(?P<sent> d[aeo] (?:verificacao|acesso|confirmacao|autenticacao"
            r"|validacao|ativacao|login|sms|banco|app|aplicativo|whats\w{0,5}))?)"
            r"\s?(?:[:=]|(?:e|eh|era|foi)\s)?\s?(?P<v>(?=[^\s,;]{0,30}\d)[\w\-]{4,60})(?![\w/]|[.,]\d)"
        ),
        lambda found: (
            bool(found["sent"]) or (_no_year(found) and (not found[0].startswith("codigo") or len(found["v"]) > 4))
        ),
    ),
    _keyword("[BENEFÍCIO]", "beneficio|nb", r"(?:numero do )?beneficio|nb", rf"{digits(9, 11)}"),
    _keyword(
        "[REGISTRO]",
        "crm|crea|crc|crp|cro|creci|coren|crefito|matricula|renavam|prontuario",
        r"crm|crea|crc|crp|cro|creci|coren|crefito|matricula|renavam|prontuario",
        rf"(?:{UF}[\s/-]{{0,3}})?\d(?:[\s.\-/]?\d){{2,11}}(?!\d)(?:\s?[-/]\s?{UF}\b)?",
        25,
        years=False,
    ),
    _keyword(
        "[PLACA]",
        "placa|emplacad",
        r"placas?|emplacad[oa]",
        r"[a-z][\s]?[a-z][\s]?[a-z][\s.\-]{0,3}\d[\s-]?[0-9a-z][\s-]?\d[\s-]?\d(?!\w)",
        30,
    ),
    _keyword(
        "[PLACA]",
        "carro|moto|veiculo|caminhao",
        r"carro|moto|motocicleta|veiculo|caminhao",
        r"[a-z]{3}-?\d[0-9a-j]\d\d(?!\w)",
        30,
    ),
    _keyword("[CHASSI]", "chassi|vin", r"chassi[s]?|vin", r"[0-9a-z](?:[\s.\-]?[0-9a-z]){16}(?!\w)", 20),
    _keyword(
        "[CONTA]",
        "ag",
        r"ag(?:encia|\.)?",
        r"\d{3,5}(?:\s?-\s?[\dx])?(?!\w)(?:(?:[\s,;/.|]|e\b|n\b|conta|corrente|poupanca|c/c|cc|cp|op|operacao"
        r"|numero|:|-){1,12}\d[\d.\-\s]{2,14}[\dx](?!\w))?",
        12,
        years=False,
    ),
    _keyword(
        "[CONTA]",
        "conta|c/c|cc|c.c.|poupanca|op",
        r"conta(?:[\s-](?:corrente|poupanca|salario|bancaria))?"
        r"(?!\sd[aeo]\s(?:luz|agua|energia|gas|telef|inter|celu|condo))|c/c|cc|c\.c\.|poupanca|op",
        r"\d(?:[.\-]?\d){3,12}(?:\s?-\s?[\dx])?(?!\w)(?!\s?(?:reais|mil\b|anos|dias|meses|,\d))",
        14,
        years=False,
    ),
    _words("[CONTA]", "agencia|conta", "agencia|conta(?: corrente| poupanca)?"),
    _keyword(
        "[RG]",
        "rg|r.g|r g|r. g|identidade|registro geral|cin",
        _RG,
        rf"(?:{UF}[\s.\-]{{0,3}}|m[\s.-])?\d(?:[.\s\-]{{0,2}}\d){{3,12}}(?:\s?-?\s?[xa]\b)?(?!\d)(?:"
        rf"[\s,/\-]{{0,3}}(?:ssp|detran|ifp|pc|sds|sesp|sjs|iirgd)[\s/-]{{0,3}}{UF}?\b)?",
        years=False,
    ),
    _words("[RG]", "rg|r.g|identidade", _RG),
    _keyword("[CEP]", "cep|c.e.p", r"c\.?e\.?p\.?", digits(7, 8), 20),
    _words("[CEP]", "cep", "cep"),
    _keyword(
        "[PROCESSO]",
        "proc|autos|acao|execucao|protocolo|apelacao|agravo",
        r"processos?|proc\.?|autos|acao|execucao|protocolo|apelacao|agravo",
        r"(?:n[.or]{0,3}\s?)?\d[\d.\-/]{3,30}\d(?!\w)",
        25,
        years=False,
    ),
    _keyword(
        "[BO]",
        "bo|b.o|boletim|ocorrencia|inquerito|ip|tco|rdo|reds|termo circ|flagrante",
        r"b\.?o\.?|boletim(?: de ocorrencia)?|ocorrencia|inquerito(?: policial)?|ip|tco|rdo|reds"
        r"|termo circunstanciado|(?:auto de )?flagrante",
        r"[a-z]{0,2}\d[\d.\-/]{1,24}(?<=\d)(?!\w)",
        16,
        years=False,
    ),
    _words("[BO]", "bo|b.o|boletim", r"b\.?o\.?|boletim(?: de ocorrencia)?"),
    _words("[PROCESSO]", "process", "processo"),
)

CNPJ_SLASH = re.compile(
    r"(?<![^\W_])[0-9a-z]{2}\s?\.\s?[0-9a-z]{3}\s?\.\s?[0-9a-z]{3}\s?/\s?[0-9a-z]{4}\s?-\s?\d{2}(?![^\W_])"
)
CNPJ_ANYHOW = re.compile(
    r"(?<![^\W_])[0-9a-z]{2}[.\s\-]{0,3}[0-9a-z]{3}[.\s\-]{0,3}[0-9a-z]{3}[\s/.\-]{0,3}[0-9a-z]{4}"
    r"[\s\-/.]{0,3}\d{2}(?![^\W_])"
)
HALF_CPF = re.compile(r"(?<![^\W_])[*x\d]{3}\.[*x\d]{3}\.[*x\d]{3}-[*x\d]{2}(?!\d)")
FORMED: tuple[Rule, ...] = (
    Rule(
        "[PROCESSO]",
        (),
        re.compile(
            r"(?<!\d)\d{7}\s{0,2}[-.]?\s{0,2}\d{2}\s{0,2}[.-]?\s{0,2}(?:19|20)\d{2}\s{0,2}"
            r"[.-]?\s{0,2}\d\s{0,2}[.-]?\s{0,2}\d{2}\s{0,2}[.-]?\s{0,2}\d{4}(?!\d)"
        ),
    ),
    Rule(
        "[PROCESSO]",
        (),
        re.compile(
            r"(?<!\d)(?:\d{3}\.\d\d\.\d{4}\.\d{6}-?\d?|\d{7}-\d\d\.\d{4}(?:\.\d\.\d\d)?|\d{4}\.\d{3}\.\d{6}-\d"
            r"|\d{4}\.\d\d\.\d\d\.\d{6}-\d)(?![\d])"
        ),
    ),
    Rule("[CNPJ]", (), re.compile(r"(?<!\d)\d{8}\s?/\s?\d{4}\s?-?\s?\d{2}(?!\d)")),
    Rule(
        "[CPF]",
        (),
        re.compile(
            r"(?<![\d.])(?:\d{3}\s?[.\s\-]\s?\d{3}\s?[.\s\-]\s?\d{3}\s?[-/.\s]\s?\d{2}|\d{9}\s?[-/.]\s?\d{2})(?![\d])"
        ),
    ),
    Rule(
        "[CHASSI]",
        (),
        re.compile(r"(?<![^\W_])(?=[a-z0-9]{0,16}\d[a-z0-9]{0,16}\d)(?=\d{0,16}[a-z])[a-hj-npr-z0-9]{17}(?![^\W_])"),
    ),
    Rule(
        "[RG]",
        (),
        re.compile(
            rf"(?<!\d)\d(?:[.\-]?\d){{4,12}}(?:-?x)?[\s,/\-]{{1,3}}(?:orgao emissor\s)?(?:ssp|detran|ifp|sds"
            rf"|sesp|sjs|iirgd)(?:[\s/-]{{0,3}}{UF})?\b"
        ),
    ),
    Rule(
        "[RG]",
        (),
        re.compile(
            r"(?<![\d.])(?:\b[a-z]{2}[\s-]?)?\d{1,2}\.\d{3}\.\d{3}\s?-\s?[\dx](?![\w])|\bm"
            r"[ag]-?\d{1,2}\.\d{3}\.\d{3}(?!\d)"
        ),
    ),
    Rule("[PASSAPORTE]", (), re.compile(r"(?<![^\W_])[a-z]{2}\d{6}(?![\w])")),
    Rule(
        "[RNE]",
        (),
        re.compile(r"(?<![^\W_])[vwgfy]\d{6}\s?-\s?[0-9a-z](?![\w])|(?<![^\W_])[vwgfy]\d{6}[0-9a-z](?![\w])"),
    ),
    Rule("[OAB]", (), re.compile(rf"(?<![\d.])\d{{2,3}}\.?\d{{3}}\s?[-/]\s?{UF}(?!\w)")),
    Rule(
        "[OAB]",
        (),
        re.compile(
            r"(?<![^\W_])(?:ac|al|am|ba|ce|df|es|go|ma|mg|ms|mt|pb|pe|pi|pr|rj|rn|ro|rr|rs|sp)"
            r"[\s]?\d{2,3}\.\d{3}(?![\d.,])"
        ),
    ),
    Rule("[PLACA]", (), re.compile(r"(?<![^\W_])[a-z]{3}[\s-]?\d[a-j]\d{2}(?![\w])")),
    Rule("[CEP]", (), re.compile(r"(?<![\d.])\d{2}\.?\d{3}\s?-\s?\d{3}(?![\d-])")),
)

_NO_PLATES = words("no_plate")
PLATE = re.compile(r"(?<![^\W_])([A-Z]{3})([\s-]?)(\d{4})(?![\w])")


MERCOSUL = re.compile(r"(?<![^\W_])[A-Z]{3}[\s-]?\d[A-J]\d{2}(?![\w])")


def plate(found: re.Match[str]) -> bool:
    """Whether three capitals and four digits are a plate, not «LEI 8078» or «GOL 2015»."""
    return found[1].lower() not in _NO_PLATES and not (found[2] == " " and _year(found[3]))


_MONEY = r"(?:\d{1,3}(?:\.\d{3}){1,4}|\d{1,9})(?:,\d{1,2})?"
_UNIT = (
    r"(?:reais|real|mil|milhao|milhoes|bilh|centavos|%|por cento|km|kg|metros?|m2|m²|hectares?|anos?|dias?"
    r"|meses|mes|horas?"
    r"|h\b|minutos|vezes|parcelas|habitantes|funcionarios|pessoas|salarios|pontos|quilometros)"
)
_LAW = (
    r"(?:leis?|decretos?(?:-lei)?|lc|mp|medida provisoria|portarias?|resoluc(?:ao|oes)|instruc(?:ao"
    r"|oes) normativas?|in|nr|nbr|emenda"
    r"|ec|sumulas?|temas?|enunciados?|oj|convencao|artigos?|arts?|paragrafos?|incisos?|provimento|clausulas?"
    r"|itens?|item|nota|§+)"
)
_PRICE = re.compile(r"(?:r\$|us\$|\$|€|brl)\s?" + _MONEY + r"(?![\d.,\-]{0,3}\d)")
_LAW_NUMBER = re.compile(
    r"(?<![^\W_])" + _LAW + r"\.?\s?(?:(?:complementar|federal|estadual|municipal|ordinaria|n|no|n\.o|nr|numero"
    r"|vinculante|do|da|stj|stf|tst)[.\s]{1,2}){0,3}\d{1,3}(?:\.\d{3}){0,2}(?:\d{0,3})(?:-[a-z])?(?:/(?:19|20)?\d{2})?(?!\d|[-.]\d)"
)
_LAW_SIGNS = (
    *(
        "lei",
        "dec",
        "lc",
        "mp",
        "medida",
        "portaria",
        "resoluc",
        "instruc",
        "in",
        "nr",
        "nbr",
        "emenda",
        "ec",
        "sumula",
    ),
    *(
        "tema",
        "enunciado",
        "oj",
        "convencao",
        "art",
        "paragrafo",
        "inciso",
        "provimento",
        "clausula",
        "ite",
        "nota",
        "§",
    ),
)
_HARMLESS_NUMBER = re.compile(
    r"(?<![\d.,\-/])" + _MONEY + r"\s?" + _UNIT + r"(?![^\W_])"
    r"|(?<![\d.,])\d{1,3}(?:\.\d{3}){1,4},\d{2}(?!\d)|(?<![\d./\-])\d{1,2}\.\d{3}/(?:19|20)?\d{2}(?![\d\-])"
    r"|(?<![\d./\-])\d{1,4}/(?:19|20)\d{2}(?![\d\-/])"
    r"|(?<![\d/.\-])" + _DAY + r"\s?([/.\-])\s?(?:0?[1-9]|1[0-2])\s?[/.\-]\s?(?:(?:19|20)\d{2}|\d{2})(?![\d/\-])"
    r"|(?<![\d/.\-])(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)"
    r"|(?<![\d/.\-])(?:0?[1-9]|1[0-2])/(?:19|20)\d\d(?![\d/\-])"
    r"|(?<!\d)\d{1,2}[:h]\d{2}(?:min)?(?!\d)"
    r"|(?<![\d/.\-])(?:19|20)\d{2}(?:\s?(?:-|/|,|\s|\be\b|\ba\b)\s?(?:19|20)\d{2}){1,6}(?![\d.\-])"
    r"|(?<!\d)0[389]00[\s.\-]{0,2}\d{3}[\s.\-]{0,2}\d{3,4}(?!\d)|(?<![\d(])[34]00\d[\s.\-]\d{4}(?!\d)"
)

_AREA = r"(?:\(?\s?(?:0\s?xx|0\*\*|0)?\s?[1-9]{2}\s?\)?)"
PHONES = (
    re.compile(
        rf"(?<![\w])(?:\+\s?55|0055|55)?[\s.\-]{{0,3}}{_AREA}[\s.\-/]{{0,3}}9?[\s.\-]{{0,2}}\d{{4}}"
        rf"[\s.\-/]{{0,3}}\d{{4}}(?![\d])"
    ),
    re.compile(
        rf"(?<![\w])(?:\+\s?55[\s.\-]{{0,3}})?{_AREA}[\s.\-/]{{0,3}}9[\s.\-]?\d{{3}}[\s.\-]\d{{3}}"
        rf"[\s.\-]?\d{{2}}(?![\d])"
    ),
    re.compile(r"(?<![\w.,/\-])9?[\s.\-]?\d{4}\s?[\s.\-]\s?\d{4}(?![\d/.\-]*\d)"),
    re.compile(r"(?<![\w.,/\-])9[\s.\-]?\d{4}[\s.\-]?\d{4}(?![\d/]*\d)"),
    re.compile(r"(?<!\w)\+\d{1,3}(?:[\s.\-()]{0,3}\d){7,13}(?!\d)"),
)
_PHONE_SIGNS = (
    "tel|fone|cel|zap|whats|watts|wpp|contato|lig|chama|num|recado|fixo|residencial|comercial|disque|sms|fala"
)
AFTER_PHONE_WORD = _keyword(
    "[TELEFONE]",
    _PHONE_SIGNS,
    _PHONE,
    r"(?!\d{1,2}/\d{1,2}/\d{2})(?:\+\s?)?\(?\d(?:[\s.\-()/xo*]{0,3}\d){7,14}(?![\d])",
)
SPOKEN_PHONE = _words("[TELEFONE]", _PHONE_SIGNS, _PHONE)
SPOKEN_ALONE = re.compile(ALONE)
_STRICT = re.compile(r"(?<![\d.])\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)|(?<!\d)\d{11}(?!\d)")
_ANY_DIGIT = re.compile(r"\d")
_RUN = re.compile(r"(?<![\w.,])\d(?:[.\s\-/_*()]{0,3}\d){6,}(?:\s?-?\s?x\b)?|(?<!\d)\d{7,}")


def documents(findings: Findings) -> None:
    """Take what is known by a word before it or by its form; leave what is harmless."""
    for rule in KEYWORDED:
        if places := findings.signs(rule.signs):
            findings.take_at(places, rule.pattern, rule.placeholder, rule.accept)
    _said(findings)
    if not _ANY_DIGIT.search(findings.low):
        return
    findings.take_at(findings.signs(AFTER_PHONE_WORD.signs), AFTER_PHONE_WORD.pattern, "[TELEFONE]")
    findings.take_spans([(*m.span(), "[PLACA]") for m in MERCOSUL.finditer(findings.text)])
    numbers = findings.numbers
    findings.take_at(numbers, _STRICT, "[CPF]")  # whatever stands around it
    findings.keep(findings.found_at(findings.signs(("r$", "us$", "$", "€", "brl")), _PRICE))
    findings.keep(findings.found_at(findings.signs(_LAW_SIGNS), _LAW_NUMBER))
    findings.keep(findings.found_at(numbers, _HARMLESS_NUMBER))
    if "/" in findings.low:
        findings.take(CNPJ_SLASH, "[CNPJ]")
    findings.take(CNPJ_ANYHOW, "[CNPJ]", _real_cnpj)
    if "***" in findings.low or "xxx" in findings.low:
        findings.take(HALF_CPF, "[CPF]")
    for rule in FORMED:
        findings.take_at(numbers, rule.pattern, rule.placeholder, rule.accept)
    findings.take_spans([(*m.span(), "[PLACA]") for m in PLATE.finditer(findings.text) if plate(m)])
    for pattern in PHONES:
        findings.take_at(numbers, pattern, "[TELEFONE]")
    runs = findings.found_at(numbers, _RUN, lambda found: _tells(found[0]))
    findings.take_spans([(start, end, _kind(findings.low[start:end])) for start, end in runs])


def _said(findings: Findings) -> None:
    if sum(findings.low.count(sign) for sign in SIGNS) >= 3:
        findings.take_at(findings.signs(SPOKEN_PHONE.signs), SPOKEN_PHONE.pattern, "[TELEFONE]")
        findings.take(SPOKEN_ALONE, "[NÚMERO]")


def _tells(run: str) -> bool:
    """Whether a run of digits says who somebody is: not years, not a list of small numbers."""
    groups = re.findall(r"\d+", run)
    if all(_year(group) for group in groups):
        return False
    number = "".join(groups)
    small = all(len(group) <= 3 for group in groups) and re.fullmatch(r"[\d\s]+", run) is not None
    return (
        not small or (len(number) in (8, 9, 10, 11, 13, 14, 20) and len(set(map(len, groups))) > 1) or len(groups) > 6
    )


def _kind(run: str) -> str:
    number = re.sub(r"\D", "", run)
    if len(number) == 11 and cpf(number):
        return "[CPF]"
    if len(number) == 14 and cnpj(number):
        return "[CNPJ]"
    return {20: "[PROCESSO]", 10: "[TELEFONE]", 11: "[TELEFONE]"}.get(len(number), "[NÚMERO]")
