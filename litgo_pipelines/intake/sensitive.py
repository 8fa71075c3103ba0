"""Sensitive cases, which never go to another company: family, criminal and health matters, and doubtful ones. Pure.

`sensitive.csv` names areas (without a subarea: all of them) and subareas of the taxonomy. What the client states
decides first; an area the taxonomy does not have is in doubt. Then the words of the text, and the local classifier.
"""

import csv
import io
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from litgo_pipelines.intake import danger, taxonomy
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines.intake.text import fold

REASONS = ("no_consent", "area", "text")
MOST_SENSITIVE = 0.10  # of the local classifier's probability: above it a text may be of such a matter
LEAST_KNOWN = 0.5  # of its probability that the text is of some area of the taxonomy

_WORDS = re.compile(
    r"\b(?:"
    r"divorci\w*|pensao alimenticia|alimentos|guarda d[aoe]s?|visitas? d[aoe]|alienacao parental"
    r"|paternidade|adocao|tutela d|curatela|inventario|heranca|herdeir\w+|uniao estavel|ex marido|ex esposa"
    r"|ex mulher|meu marido|minha esposa|minha mulher|meu ex|minha ex|companheir[oa]|conselho tutelar"
    r"|menor de idade|crime\w*|criminal|penal|pres[oa]|prisao|presidio|cadeia|delegacia|delegad[oa]"
    r"|inquerito|flagrante|homicidio|assassin\w+|trafico|drogas?|estupr\w+|abus\w+ sexual\w*|assedio sexual"
    r"|violencia|agredi\w+|agress\w+|ameac\w+|medida protetiva|maria da penha|furto|roub\w+|estelionato"
    r"|habeas corpus|tornozeleira|denuncia do ministerio|boletim de ocorrencia|calunia|difamacao|injuria"
    r"|doenca\w*|doente\w*|cancer|tumor|quimioterapia|cirurgi\w+|hiv|aids|soropositiv\w+|depress\w+"
    r"|ansiedade|psiquiatr\w+|psicolog\w+|laudos?|diagnostic\w+|hospital\w*|internad[oa]|internac\w+"
    r"|tratamento\w*|medicament\w+|remedios?|medic[oa]s?|gravid\w+|gestante\w*|aborto|deficien\w+|autis\w+"
    r"|transtorno\w*|suicid\w+|alcool\w*|dependente quimic\w+|burnout|hernia|plano de saude|convenio medico"
    r"|pericia medica|incapacidade|invalidez|lesao|fratur\w+|amputa\w+|sequela\w*|uti|sus|cid"
    r")\b"
)


@cache
def subareas() -> frozenset[Subarea]:
    """The sensitive ones of the taxonomy."""
    text = files(__package__).joinpath("sensitive.csv").read_text(encoding="utf-8")
    rows = [(row["area"], row["subarea"]) for row in csv.DictReader(io.StringIO(text))]
    return frozenset(
        each for each in taxonomy.subareas() if (each.area, "") in rows or (each.area, each.subarea) in rows
    )


@cache
def open_keys() -> frozenset[str]:
    """«area/subarea», folded, of what may leave; «area/» where no subarea of the area is sensitive."""
    areas = set(taxonomy.areas()) - {each.area for each in subareas()}
    keys = {key(area, None) for area in areas}
    return frozenset(keys | {key(*each) for each in taxonomy.subareas() if each not in subareas()})


def key(area: str, subarea: str | None) -> str:
    """As `may_leave.sql` writes it."""
    return "/".join(" ".join(re.findall("[a-z0-9]+", fold(each or ""))) for each in (area, subarea))


def speaks_of_it(text: str) -> bool:
    """Whether a text has a word of family, crime or health, or tells of danger."""
    if _WORDS.search(re.sub(r"[^a-z0-9]+", " ", fold(text))):
        return True
    said = danger.judge(text)
    return said.unsure or said.life or said.hours is not None


def may_be(text: str, probabilities: Mapping[Subarea, float]) -> bool:
    """Whether a text may be of such a matter, by its words or by the local classifier."""
    sensitive = sum(share for label, share in probabilities.items() if label in subareas())
    return sensitive > MOST_SENSITIVE or speaks_of_it(text)


def reason(area: str | None, subarea: str | None, text: str, probabilities: Mapping[Subarea, float]) -> str | None:
    """Why a case's text must stay here: its stated area, or what it says; None where nothing speaks against leaving.

    `probabilities`: of the local classifier, given what the client stated.
    """
    stated = [each for each in taxonomy.subareas() if area in (None, each.area) and subarea in (None, each.subarea)]
    if not stated or all(each in subareas() for each in stated):
        return "area"
    if subarea is not None and any(each in subareas() for each in stated):
        return "area"
    unknown = probabilities.get(NONE, 0.0)
    return "text" if unknown > 1 - LEAST_KNOWN or may_be(text, probabilities) else None
