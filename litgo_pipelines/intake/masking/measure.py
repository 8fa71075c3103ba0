"""Figures on masking: how much of what must go is masked, and how much of what must stay is not, by kind.

`litgo mascara medir` prints the tables of docs/privacy.md. A text is a line: {kind|what must go}, {ok|what must stay},
[[names the caller knows]] in front of it. Every text is invented.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from litgo_pipelines.intake.masking import cover
from litgo_pipelines.intake.masking.forms import cnpj, cpf
from litgo_pipelines.intake.masking.names import PARTICLES

GROUPS: dict[str, tuple[str, ...]] = {
    "documents": (
        "cpf",
        "cnpj",
        "rg",
        "cnh",
        "oab",
        "passaporte",
        "rne",
        "titulo",
        "pis",
        "placa",
        "chassi",
        "conta",
        "bo",
        "processo",
    ),
    "contact": ("email", "telefone", "perfil", "link", "endereco", "cep", "pix", "nascimento"),
    "names": ("nome", "terceiro"),
}
TARGETS = {"documents": 0.98, "contact": 0.95, "names": 0.90}
MOST_CHANGED = 0.03
HALVES = ("building", "held_out")

_MARK = re.compile(r"\{(\w+)\|([^{}]*)\}")
_NAMES = re.compile(r"\[\[(.*?)\]\]\s?")
_PARTICLES = PARTICLES | {"e"}


class Annotated(NamedTuple):
    """`marks`: (kind, start, end) in the text."""

    text: str
    names: tuple[str, ...]
    marks: tuple[tuple[str, int, int], ...]


@dataclass
class MaskingFigures:
    """kind → (marked, of them wholly masked); `kept`: (expressions that must stay, of them touched); `words`: (words
    outside all marks, of them touched)."""

    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    kept: tuple[int, int] = (0, 0)
    words: tuple[int, int] = (0, 0)

    def recall(self, group: str) -> float:
        found = [self.kinds[kind] for kind in GROUPS[group] if kind in self.kinds]
        return sum(masked for _, masked in found) / max(sum(number for number, _ in found), 1)

    @property
    def changed(self) -> float:
        return self.kept[1] / max(self.kept[0], 1)

    @property
    def words_changed(self) -> float:
        return self.words[1] / max(self.words[0], 1)

    def misses(self) -> list[str]:
        """What a target is missed by; empty when all are met."""
        found = [
            f"{group}: recall {self.recall(group):.3f}, target {target:.2f}"
            for group, target in TARGETS.items()
            if self.recall(group) < target
        ]
        for what, share in (("harmless expressions", self.changed), ("other words", self.words_changed)):
            if share > MOST_CHANGED:
                found.append(f"{what}: {share:.3f} changed, at most {MOST_CHANGED:.2f}")
        return found


def annotated(line: str) -> Annotated:
    names: tuple[str, ...] = ()
    if found := _NAMES.match(line):
        names, line = tuple(found[1].split(";")), line[found.end() :]
    pieces: list[str] = []
    marks: list[tuple[str, int, int]] = []
    last = length = 0
    for mark in _MARK.finditer(line):
        pieces += [line[last : mark.start()], mark[2]]
        start = length + mark.start() - last
        length = start + len(mark[2])
        marks.append((mark[1], start, length))
        last = mark.end()
    return Annotated("".join([*pieces, line[last:]]), names, tuple(marks))


@cache
def texts(half: str) -> tuple[Annotated, ...]:
    lines = files(__package__).joinpath(f"texts_{half}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(annotated(line) for line in lines if line.strip() and not line.startswith("#"))


def measured(given: Iterable[Annotated]) -> MaskingFigures:
    figures = MaskingFigures()
    for each in given:
        covered = [False] * len(each.text)
        for start, end, _ in cover(each.text, each.names):
            covered[start:end] = [True] * (end - start)
        outside = [True] * len(each.text)
        for kind, start, end in each.marks:
            outside[start:end] = [False] * (end - start)
            if kind == "ok":
                figures.kept = figures.kept[0] + 1, figures.kept[1] + any(covered[start:end])
            else:
                number, masked = figures.kinds.get(kind, (0, 0))
                figures.kinds[kind] = number + 1, masked + _gone(each.text, covered, start, end)
        for begin, stop, _ in cover(each.text, each.names):  # a label that goes with its value is no loss
            if any(kind != "ok" and start < stop and begin < end for kind, start, end in each.marks):
                outside[begin:stop] = [False] * (stop - begin)
        for word in re.finditer(r"[^\W_]+", each.text):
            if all(outside[word.start() : word.end()]):
                touched = any(covered[word.start() : word.end()])
                figures.words = figures.words[0] + 1, figures.words[1] + touched
    return figures


def _gone(text: str, covered: list[bool], start: int, end: int) -> bool:
    """Whether no part of a value is left but particles and single letters."""
    return all(
        all(covered[start + word.start() : start + word.end()])
        for word in re.finditer(r"[^\W_]+", text[start:end])
        if word[0].lower() not in _PARTICLES and (len(word[0]) > 1 or word[0].isdigit())
    )


def missed(given: Iterable[Annotated]) -> Iterator[str]:
    """kind and value of what was not found, and of what was touched though it must stay: for who builds."""
    for each in given:
        covered = [False] * len(each.text)
        spans = cover(each.text, each.names)
        for start, end, _ in spans:
            covered[start:end] = [True] * (end - start)
        for kind, start, end in each.marks:
            if kind == "ok" and any(covered[start:end]):
                yield f"touched: {each.text[start:end]!r} in {each.text!r}"
            elif kind != "ok" and not _gone(each.text, covered, start, end):
                yield f"{kind}: {each.text[start:end]!r} in {each.text!r}"


def markdown(figures: dict[str, MaskingFigures]) -> str:
    """One table: kinds by row, halves by column."""
    head = "| kind | " + " | ".join(f"{name}: texts with it | found" for name in figures) + " |"
    rule = "|---|" + "--:|--:|" * len(figures)
    rows: list[str] = []
    for group, kinds in GROUPS.items():
        for kind in kinds:
            cells = [figure.kinds.get(kind, (0, 0)) for figure in figures.values()]
            rows.append(f"| {kind} | " + " | ".join(f"{n} | {k / n:.3f}" if n else "0 | –" for n, k in cells) + " |")
        shares = [(sum(f.kinds.get(kind, (0, 0))[0] for kind in kinds), f.recall(group)) for f in figures.values()]
        rows.append(
            f"| **{group}** (≥ {TARGETS[group]:.2f}) | "
            + " | ".join(f"{n} | **{r:.3f}**" if n else "0 | –" for n, r in shares)
            + " |"
        )
    for what, pairs in (
        ("harmless expressions changed", [(f.kept[0], f.changed) for f in figures.values()]),
        ("other words changed", [(f.words[0], f.words_changed) for f in figures.values()]),
    ):
        rows.append(
            f"| **{what}** (≤ {MOST_CHANGED:.2f}) | "
            + " | ".join(f"{n} | **{s:.3f}**" if n else "0 | –" for n, s in pairs)
            + " |"
        )
    return "\n".join([head, rule, *rows])


# Written in every way that is systematic: each kind by each spelling, with check digits that are right.
_DASHES = ("-", "–", "—", "−", "‑", " - ", "/", " ")
_DOTS = (".", "·", "․", " ", " . ", "")
_BEFORE = {
    "cpf": ("meu cpf é ", "CPF: ", "inscrito no CPF sob o nº ", "documento "),
    "cnpj": ("CNPJ ", "empresa de cnpj nº ", "fornecedor "),
    "telefone": ("meu zap é ", "Tel. ", "ligar para ", "falar no "),
    "processo": ("processo ", "autos nº ", "é o "),
    "placa": ("placa ", "o carro de placa ", "veículo "),
    "cep": ("CEP ", "cep: "),
}


def generated(seed: int = 7) -> list[Annotated]:
    """Kinds × separators × digits of other scripts × words before them."""
    rng = random.Random(seed)
    found: list[Annotated] = []

    def add(kind: str, value: str) -> None:
        for before in _BEFORE[kind]:
            for shown in (value, _scripted(value, rng)):
                text = f"{before}{shown}, obrigado"
                found.append(Annotated(text, (), ((kind, len(before), len(before) + len(shown)),)))

    for dash in _DASHES:
        for dot in _DOTS:
            number = _with_check(rng, 9, cpf)
            add("cpf", f"{number[:3]}{dot}{number[3:6]}{dot}{number[6:9]}{dash}{number[9:]}")
            for letters in ("", "ABCDEFGHJKLMNPRSTUVWXYZ"):
                number = _with_check(rng, 12, cnpj, letters)
                add("cnpj", f"{number[:2]}{dot}{number[2:5]}{dot}{number[5:8]}/{number[8:12]}{dash}{number[12:]}")
        area, rest = rng.choice((11, 21, 31, 48, 62, 71, 85, 92)), f"{rng.randrange(10**7):07}"
        for form in ("({}) 9{}{}{}", "{} 9{}{}{}", "+55 {} 9{}{}{}", "0{} 9{}{}{}", "({})9 {}{}{}"):
            add("telefone", form.format(area, rest[:4], dash, "1" + rest[4:]))
        year = rng.randrange(2001, 2026)
        add(
            "processo",
            f"{rest}{dash}{rng.randrange(10, 99)}.{year}.8.{rng.randrange(10, 27)}.{rng.randrange(1, 999):04}",
        )
        add("cep", f"{rest[:5]}{dash}{rest[4:7]}")
    for dash in ("", "-", " ", "–"):
        letters = "".join(rng.choice("BCDFGHJKLMPQRSTVWXYZ") for _ in range(3))
        add("placa", f"{letters}{dash}{rng.randrange(10)}{rng.choice('ABCDEFGHIJ')}{rng.randrange(10, 100)}")
        add("placa", f"{letters}{'-' if dash == ' ' else dash}{rng.randrange(2100, 9999)}")
    return found


def _scripted(value: str, rng: random.Random) -> str:
    """The value in digits of another script, or with invisible characters between."""
    zero = rng.choice((0xFF10, 0x0660, 0x1D7CE, 0x06F0, 0x0966, 0))
    if not zero:
        return "\u200b".join(value)
    return "".join(chr(zero + int(each)) if each.isdigit() else each for each in value)


def _with_check(rng: random.Random, length: int, right: Callable[[str], bool], letters: str = "") -> str:
    base = "".join(rng.choice("0123456789" + letters) for _ in range(length - 1)) + str(rng.randrange(10))
    return next(f"{base}{check:02}" for check in range(100) if right(f"{base}{check:02}"))
