"""Urgency and complexity by explicit rules on Portuguese phrases, from `rules.csv`. Pure.

A pattern is words without accents; `word*` is any word that starts so, `*` alone one to three words, `{n}` a number
that multiplies the value. A phrase that is negated just before it ("não tem audiência amanhã") does not count, but for
those of danger: "sem habeas corpus meu filho continua preso" is no denial.
"""

import csv
import io
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from litgo_pipelines.intake.text import fold, meant

URGENCY_H, COMPLEXITY = 72, "MEDIUM"  # where no rule speaks
LEAST_H, MOST_H = 2, 720
LEVELS = ("LOW", "MEDIUM", "HIGH")

_VALUES = {
    "um": 1,
    "uma": 1,
    "dois": 2,
    "duas": 2,
    "tres": 3,
    "quatro": 4,
    "cinco": 5,
    "seis": 6,
    "sete": 7,
    "oito": 8,
    "nove": 9,
    "dez": 10,
    "doze": 12,
    "quinze": 15,
    "vinte": 20,
    "trinta": 30,
}
_PARTS = {"*": r"\w+(?: \w+){0,2}", "{n}": rf"(?P<n>\d{{1,3}}|{'|'.join(_VALUES)})"}
# Words of danger that tell of none: «me mata de vergonha», «uma facada no bolso», «não quero mais viver de aluguel»; at
# the beginning of a clause «o dinheiro continua preso». What is as often meant word by word is not here: to die of fear
# or of cold, to be killed by beating, stabbed in the back.
_MONEY = r"n[oa]s? (?:bolso|juros|preco|conta|taxa|comissao|mensalidade)s?"
_IDIOM = re.compile(
    r"\b(?:(?:vai|vao|vou|quero|quase|penso em|estou|to) )?(?:(?:me|nos|se) )?"
    r"(?:mat(?:a|am|ar|ei|ou|ando)|morr(?:e|er|i|endo|o)|mort[oa]) de (?:tant[oa] )?"
    r"(?:rir|riso|trabalhar|estudar|esperar|ligar|correr|cozinhar|limpar|pagar|comer|dancar|andar|procurar"
    r"|vergonha|raiva|sono|tedio|saudades?|orgulho|curiosidade|susto|cansaco|inveja|velh[oa]|velhice)\b"
    r"|\b(?:me (?:deu|deram|dao|da) )?(?:uma )?facadas? "
    rf"(?:{_MONEY}|com (?:ess)?[eao]s? (?:juros|precos?|taxas?))\b|\b(?:me )?(?:esfaque|apunhal)\w+ {_MONEY}\b"
    r"|(?:^|(?<=[.,;:!?] ))(?:(?:meus?|minhas?|os?|as?) )?(?:dinheiro|saldo|salario|fgts|carro|moto|veiculo|caminhao"
    r"|mercadoria|encomenda|pacote|bagagem|mala|carga|produto|anel|processo) "
    r"(?:(?!e |que |el[ea] )\w+ ){0,2}pres[oa]s?\b"
    r"|\bnao quero mais viver (?:de aluguel|(?:com|n[oa]|n?ess[ea]|n?est[ea]) "
    r"(?:meus pais|minha sogra|condominio|predio|casa|apartamento|cidade|bairro|imovel|pais|rua))\b"
)
_NEGATED = re.compile(r"\b(?:nao|nunca|sem|nenhum|nenhuma)(?: \w+){0,2} $")


class Rule(NamedTuple):
    field: str
    value: str
    pattern: re.Pattern[str]


@cache
def rules() -> list[Rule]:
    text = files(__package__).joinpath("rules.csv").read_text(encoding="utf-8")
    return [Rule(row["field"], row["value"], _compile(row["pattern"])) for row in csv.DictReader(io.StringIO(text))]


def literal(text: str) -> str:
    """The text, of single blanks, without idioms that name a danger and mean none."""
    flat = "".join(folded if len(folded := fold(letter)) == 1 else letter for letter in text)
    for found in reversed(list(_IDIOM.finditer(flat))):
        text = text[: found.start()] + text[found.end() :]
    return " ".join(text.split())


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(expression(pattern))


def expression(pattern: str) -> str:
    """A pattern as a regular expression over what `plain` gives."""
    parts = (_PARTS.get(word) or re.escape(word).replace(r"\*", r"\w*") for word in pattern.split())
    return rf"\b{' '.join(parts)}\b"


def _found(text: str, field: str) -> list[tuple[str, int]]:
    """(value, number) of the rules that apply; the number is 1 where the pattern has none."""
    return [
        (rule.value, _number(match.groupdict().get("n")))
        for rule in rules()
        if rule.field == field
        for match in rule.pattern.finditer(text)
        if field == "danger" or not _NEGATED.search(text[max(match.start() - 60, 0) : match.start()])
    ]


def _number(text: str | None) -> int:
    return 1 if text is None else _VALUES[text] if text in _VALUES else int(text)


def plain(text: str) -> str:
    """Words and single spaces; punctuation stays as a mark no pattern reaches across."""
    return re.sub(r" +", " ", re.sub(r"([^\w\s])", r" \1 ", fold(text)))


def _spelt_out(text: str) -> str:
    """What people write short: hj, 48h."""
    return re.sub(r"\b(\d{1,3}) ?(?:h|hs|hrs)\b", r"\1 horas", re.sub(r"\bhj\b", "hoje", text))


def urgency_h(text: str) -> int | None:
    """Hours until a lawyer must act: the shortest a rule names, from LEAST_H to MOST_H; None where no rule speaks."""
    text = literal(text)
    found = [
        rule
        for read_as in {_spelt_out(plain(text)), _spelt_out(plain(meant(text, ())))}
        for field in ("danger", "urgency")
        for rule in _found(read_as, field)
    ]
    hours = [int(value) * number for value, number in found]
    return min(max(min(hours), LEAST_H), MOST_H) if hours else None


def complexity(text: str) -> str | None:
    """The highest level a rule names; None where no rule speaks."""
    return max((value for value, _ in _found(plain(text), "complexity")), key=LEVELS.index, default=None)
