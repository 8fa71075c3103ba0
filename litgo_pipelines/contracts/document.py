"""Contract document as a PDF, in Portuguese, rendered from the template `contrato.txt`.

Belongs here: words, figures and layout. Pure: the same terms give the same bytes, so that the hash of a document stays.
"""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/Sao_Paulo")
ENCODING = "cp1252"  # of the fonts every PDF reader has: all of Portuguese


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
    if not isinstance(fee_model, Mapping):
        raise NotRenderable("fee_model_unknown")
    pays = "O(A) CONTRATANTE pagará ao(à) CONTRATADO(A)"
    match fee_model.get("type"):
        case "success":
            share = f"{_number(fee_model.get('percent'), 100):f}".rstrip("0").rstrip(".").replace(".", ",")
            return (
                f"{pays} {share}% do êxito, isto é, do proveito econômico obtido no caso. Sem êxito, não são devidos "
                "honorários contratuais."
            )
        case "fixed":
            return f"{pays} honorários fixos de {brl(_number(fee_model.get('value')))}."
        case "hourly":
            rate = brl(_number(fee_model.get("rate")))
            return f"{pays} {rate} por hora trabalhada, mediante relatório mensal das horas."
    raise NotRenderable("fee_model_unknown")


def _number(value: object, most: float = 1e9) -> Decimal:
    """A positive figure with at most two decimals."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 < value <= most
    ):
        raise NotRenderable("fee_value_invalid")
    figure = Decimal(str(value))
    if figure != round(figure, 2):
        raise NotRenderable("fee_value_invalid")
    return round(figure, 2)


def placeholders(terms: Terms) -> dict[str, str]:
    """What goes into the template. Raises NotRenderable for what is missing."""
    if terms.at.tzinfo is None:
        raise ValueError(f"the document's instant must name its zone: {terms.at.isoformat()}")
    values = {
        "contract_id": terms.contract_id,
        "date": f"{terms.at.astimezone(ZONE):%d/%m/%Y}",
        "client": _clean(terms.client),
        "lawyer": _clean(terms.lawyer),
        "oab": _clean(terms.oab).removeprefix("OAB").lstrip("/ ").strip(),
        "case": _clean(terms.title, 300) or "caso descrito pelo(a) CONTRATANTE na plataforma",
        "area": _clean(terms.area) or "a definir",
    }
    for name in ("client", "lawyer", "oab"):
        if not values[name]:
            raise NotRenderable(f"{name}_missing")
    return {**values, "fee": fee_text(terms.fee_model)}


def _clean(value: str | None, longest: int = 200) -> str:
    """One line of printable text. Raises NotRenderable for letters our fonts do not have."""
    text = " ".join(unicodedata.normalize("NFC", value or "").split())[:longest].rstrip()
    try:
        text.encode(ENCODING)
    except UnicodeEncodeError:
        raise NotRenderable("letters_not_printable") from None
    return "".join(letter for letter in text if letter.isprintable())


def render(terms: Terms) -> bytes:
    """The PDF. Raises NotRenderable."""
    from fpdf import FPDF

    values = placeholders(terms)
    template = files("litgo_pipelines.contracts").joinpath("contrato.txt").read_text(encoding="utf-8")
    pdf = FPDF(format="A4")
    pdf.core_fonts_encoding = ENCODING
    pdf.set_creation_date(terms.at)
    pdf.set_lang("pt-BR")
    pdf.set_title(f"Contrato {terms.contract_id}")
    pdf.set_margin(25)
    pdf.set_auto_page_break(True, margin=25)
    pdf.add_page()
    for block in template.strip().split("\n\n"):
        style, size, text = "", 11, block
        if block.startswith("# "):
            style, size, text = "B", 14, block[2:]
        elif block.startswith("## "):
            style, size, text = "B", 11, block[3:]
        pdf.set_font("Times", style, size)
        pdf.multi_cell(
            0,
            5.5,
            text.format_map(values),
            align="C" if size == 14 else "J" if not style else "L",
            new_x="LMARGIN",
            new_y="NEXT",
        )
        pdf.ln(2 if style else 3)
    roles = ("CONTRATANTE", "CONTRATADO(A)")
    names = (values["client"], f"{values['lawyer']} – OAB {values['oab']}")
    for role, name, anchor in zip(roles, names, anchors(terms.contract_id), strict=True):
        with pdf.unbreakable() as part:
            part.ln(6)
            part.set_font("Times", "", 6)
            part.set_text_color(255)
            part.cell(0, 14, anchor, new_x="LMARGIN", new_y="NEXT")
            part.set_text_color(0)
            part.set_font("Times", "", 11)
            part.cell(0, 5, "_" * 42 + "     Data: ____/____/________", new_x="LMARGIN", new_y="NEXT")
            part.multi_cell(0, 5, f"{role}: {name}", align="L", new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())
