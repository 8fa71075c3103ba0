"""Fee models as the marketplace keeps them and as people write them: "5000", "R$ 5.000,00", 33.333, 0. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Literal

Kind = Literal["success", "fixed", "hourly", "pro_bono"]
# kind → what it is called, where its figure stands, and the most it can be
KINDS: dict[Kind, tuple[tuple[str, ...], tuple[str, ...], Decimal]] = {
    "success": (("success", "exito", "êxito", "contingency"), ("percent", "percentage", "value"), Decimal(100)),
    "fixed": (("fixed", "fixo", "valor fixo"), ("value", "amount"), Decimal(10) ** 9),
    "hourly": (("hourly", "hora", "por hora"), ("rate", "value"), Decimal(10) ** 9),
    "pro_bono": (("pro_bono", "pro bono", "probono", "pro-bono", "gratuito"), (), Decimal(0)),
}
_THOUSANDS = re.compile(r"\d{1,3}(\.\d{3})+")
_AROUND = re.compile(r"(?i)r\$|brl|reais|real|por cento|por hora|/\s*h(ora)?|%|\s")


class FeeError(ValueError):
    """A fee no contract can state; `reason`: fee_model_unknown or fee_value_invalid."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Fee:
    """`figure`: percent or reais, with two decimals; 0 where nothing is paid."""

    kind: Kind
    figure: Decimal


def fee(model: object) -> Fee:
    """What a fee model says. A figure of zero is pro bono, whatever its kind. Raises FeeError."""
    if not isinstance(model, Mapping) or not isinstance(model.get("type"), str):
        raise FeeError("fee_model_unknown")
    named = " ".join(model["type"].split()).casefold()
    kind = next((kind for kind, (names, *_) in KINDS.items() if named in names), None)
    if kind is None:
        raise FeeError("fee_model_unknown")
    _, fields, most = KINDS[kind]
    if not fields:
        return Fee(kind, Decimal(0))
    written = next((model[field] for field in fields if model.get(field) is not None), None)
    exact = number(written, percent=kind == "success")
    figure = exact.quantize(Decimal("0.01"), ROUND_HALF_UP) if 0 <= exact <= most else Decimal(-1)
    if figure < 0 or (exact > 0 and figure == 0):
        raise FeeError("fee_value_invalid")
    return Fee(kind if figure else "pro_bono", figure)


def number(value: object, *, percent: bool) -> Decimal:
    """A figure as it is written. Raises FeeError for what is none, or could be read in two ways.

    In a text a comma separates decimals, and dots thousands where they stand so; a percentage has no thousands.
    """
    if isinstance(value, str):
        return _of_text(value, percent)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        raise FeeError("fee_value_invalid")
    return Decimal(str(value))


def _of_text(text: str, percent: bool) -> Decimal:
    bare = _AROUND.sub("", text)
    if not re.fullmatch(r"\d[\d.,]*", bare, re.ASCII) or len(bare) > 30:
        raise FeeError("fee_value_invalid")
    whole, comma, decimals = bare.rpartition(",")
    if "," in bare and "." in bare and bare.rfind(".") > bare.rfind(","):  # 5,000.00
        bare = bare.replace(",", "")
    elif comma:
        if not percent and len(decimals) == 3 and "." not in whole:  # 5,000: five, or five thousand
            raise FeeError("fee_value_invalid")
        if "." in whole and not _THOUSANDS.fullmatch(whole):
            raise FeeError("fee_value_invalid")
        bare = f"{whole.replace('.', '')}.{decimals}"
    elif not percent and _THOUSANDS.fullmatch(bare):
        bare = bare.replace(".", "")
    try:
        return Decimal(bare)
    except InvalidOperation:
        raise FeeError("fee_value_invalid") from None
