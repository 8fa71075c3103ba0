"""Contract document as a PDF, in Portuguese, rendered from the template `contrato.txt`.

Belongs here: words, figures and layout. Pure: the same terms give the same bytes, so that the hash of a document stays.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from litgo_pipelines.marketplace.fees import FeeError, fee
from litgo_pipelines.marketplace.names import is_damaged, is_name, visible

if TYPE_CHECKING:
    from fpdf import FPDF

ZONE = ZoneInfo("America/Sao_Paulo")
ENCODING = "cp1252"  # of the fonts every PDF reader has: all of Portuguese
OAB = re.compile(r"^\W*(?:o\W?a\W?b\b\W*)+", re.IGNORECASE)  # what the document says before the number itself
INNER_MARKS = str.maketrans('“”„‟"«»', "‘’‘‘'‹›")


class NotRenderable(ValueError):
    """Terms no contract can be made of; `reason` says which, in a word that may be shown and stored."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Terms:
    """What a contract says. `fee_model` as the marketplace keeps it; `at`: the document's instant, with a zone."""

    contract_id: str
    client: str | None
    lawyer: str | None
    oab: str | None
    title: str | None
    area: str | None
    fee_model: Any
    at: datetime


def anchors(contract_id: str) -> tuple[str, str]:
    """The words in the document where the client and the lawyer sign; nobody can write them into a case's title."""
    return f"/cliente{contract_id[:8]}/", f"/advogado{contract_id[:8]}/"


def brl(value: Decimal) -> str:
    """R$ 1.234,56"""
    return "R$ " + f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def fee_text(fee_model: object) -> str:
    """The clause on fees. Raises NotRenderable for a model we do not know, or figures that make no sense."""
    try:
        agreed = fee(fee_model)
    except FeeError as error:
        raise NotRenderable(error.reason) from None
    pays = "O(A) CONTRATANTE pagará ao(à) CONTRATADO(A)"
    match agreed.kind:
        case "success":
            share = f"{agreed.figure:f}".rstrip("0").rstrip(".").replace(".", ",")
            return (
                f"{pays} {share}% do êxito, isto é, do proveito econômico obtido no caso. Sem êxito, não são devidos "
                "honorários contratuais."
            )
        case "fixed":
            return f"{pays} honorários fixos de {brl(agreed.figure)}."
        case "hourly":
            return f"{pays} {brl(agreed.figure)} por hora trabalhada, mediante relatório mensal das horas."
        case "pro_bono":
            return "O(A) CONTRATADO(A) atuará pro bono: não são devidos honorários contratuais."


def placeholders(terms: Terms) -> dict[str, str]:
    """What goes into the template. Raises NotRenderable for what is missing."""
    if terms.at.tzinfo is None:
        raise ValueError(f"the document's instant must name its zone: {terms.at.isoformat()}")
    values = {
        "contract_id": terms.contract_id,
        "date": f"{terms.at.astimezone(ZONE):%d/%m/%Y}",
        "client": name(terms.client),
        "lawyer": name(terms.lawyer),
        "oab": registration(terms.oab),
        "case": shown(terms.title, 300) or "sem título",
        "area": shown(terms.area) or "a definir",
    }
    for party in ("client", "lawyer", "oab"):
        if not values[party]:
            raise NotRenderable(f"{party}_missing")
    quoted = {f"{key}_quoted": quote(values[key]) for key in ("client", "lawyer", "case", "area")}
    return {**values, **quoted, "fee": fee_text(terms.fee_model)}


def shown(value: str | None, longest: int = 200) -> str:
    """A text without what the wide font lacks."""
    return " ".join("".join(letter for letter in visible(value) if _has(letter)).split())[:longest].rstrip()


def name(value: str | None) -> str:
    """A person's name; empty where there is none. Raises NotRenderable for letters the wide font lacks, or an encoding
    lost: half a name is another one."""
    text = visible(value)
    lacking = any(unicodedata.category(letter)[0] in "LM" and not _has(letter) for letter in text)
    if lacking or is_damaged(value):
        raise NotRenderable("letters_not_printable")
    return shown(text) if is_name(text) else ""


def registration(value: str | None) -> str:
    """The number at the bar with its state, without the letters OAB; empty for what has no digit."""
    text = OAB.sub("", shown(value, 40))
    return text if any(letter.isdigit() for letter in text) else ""


def quote(text: str) -> str:
    """Between quotation marks that the text cannot close."""
    return f"“{text.translate(INNER_MARKS)}”"


@cache
def _letters() -> frozenset[int]:
    from fontTools.ttLib import TTFont

    with TTFont(_font(""), lazy=True) as font:
        return frozenset(font.getBestCmap())


def _has(letter: str) -> bool:
    return letter.isascii() or ord(letter) in _letters()


def _font(style: str) -> str:
    """DejaVu Serif, free and wide: Latin, Greek, Cyrillic. It comes with matplotlib, which is not imported for it."""
    spec = find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("matplotlib, which brings the wide font, is not installed: run `make`")
    file = f"DejaVuSerif{'-Bold' if style else ''}.ttf"
    return str(Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf", file))


def _is_plain(values: Mapping[str, str]) -> bool:
    """Do the fonts that every PDF reader has show all of it?"""
    try:
        "".join(values.values()).encode(ENCODING)
    except UnicodeEncodeError:
        return False
    return True


def render(terms: Terms) -> bytes:
    """The PDF. Raises NotRenderable."""
    from fpdf import FPDF

    values = placeholders(terms)
    template = files("litgo_pipelines.contracts").joinpath("contrato.txt").read_text(encoding="utf-8")
    contract, annex = template.strip().split("\n\n---\n\n")
    pdf = FPDF(format="A4")
    pdf.core_fonts_encoding = ENCODING
    family = "Times"
    if not _is_plain(values):
        family = "DejaVu"
        for style in ("", "B"):
            pdf.add_font(family, style, _font(style))
    pdf.set_creation_date(terms.at)
    pdf.set_lang("pt-BR")
    pdf.set_title(f"Contrato {terms.contract_id}")
    pdf.set_margin(25)
    pdf.set_auto_page_break(True, margin=25)
    pdf.add_page()
    _write(pdf, family, contract, values)
    roles = ("CONTRATANTE", "CONTRATADO(A)")
    names = (values["client"], f"{values['lawyer']} – OAB {values['oab']}")
    for role, who, anchor in zip(roles, names, anchors(terms.contract_id), strict=True):
        with pdf.unbreakable() as part:
            part.ln(6)
            part.set_font(family, "", 6)
            part.set_text_color(255)
            part.cell(0, 14, anchor, new_x="LMARGIN", new_y="NEXT")
            part.set_text_color(0)
            part.set_font(family, "", 11)
            part.cell(0, 5, "_" * 42 + "     Data: ____/____/________", new_x="LMARGIN", new_y="NEXT")
            part.multi_cell(0, 5, f"{role}: {who}", align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.add_page()
    _write(pdf, family, annex, values)
    return bytes(pdf.output())


def _write(pdf: "FPDF", family: str, template: str, values: Mapping[str, str]) -> None:
    """Blocks of the template: headings begin with # or ##."""
    for block in template.split("\n\n"):
        style, size, text = "", 11, block
        if block.startswith("# "):
            style, size, text = "B", 14, block[2:]
        elif block.startswith("## "):
            style, size, text = "B", 11, block[3:]
        pdf.set_font(family, style, size)
        pdf.multi_cell(
            0,
            5.5,
            text.format_map(values),
            align="C" if size == 14 else "J" if not style else "L",
            new_x="LMARGIN",
            new_y="NEXT",
        )
        pdf.ln(2 if style else 3)
