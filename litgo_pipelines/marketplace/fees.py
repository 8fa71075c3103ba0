"""Fee models as the marketplace keeps them and as people write them: "5000", "R$ 5.000,00", 33.333, 5 mil, 0. Pure."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Literal, NamedTuple

from litgo_pipelines.marketplace.words import NUMERALS, folded

Kind = Literal["success", "fixed", "hourly", "pro_bono"]


class _Written(NamedTuple):
    """How a kind is written: names, fields of its figure and their units as `_plain` gives them, the most it can be,
    and what may stand around it in a text."""

    names: frozenset[str]
    fields: tuple[str, ...]
    units: frozenset[str]
    most: Decimal
    around: re.Pattern[str]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


_REAIS = _names(",brl,r,real,reais")
_MONEY = r"r\$ ?:?|\brs(?=\W*\d)|\bbrl\b|\breais\b|\breal\b"
KINDS: dict[Kind, _Written] = {
    "success": _Written(
        _names(
            "success,success fee,successfee,exito,ad exito,ad exitum,exitum,contingency,contingency fee,contingencia,"
            "percentual,percentage,percent,porcentagem,quota litis,quotalitis"
        ),
        ("percent", "percentage", "percentual", "porcentagem", "value", "valor"),
        _names(",percent,percentage,percentual,porcentagem,por cento,pct"),  # % is nothing
        Decimal(100),
        re.compile(r"%|\bpor cento\b|\bpct\b"),
    ),
    "fixed": _Written(
        _names(
            "fixed,fixed fee,fixedfee,flat,flat fee,flatfee,fixo,fixa,valor fixo,preco fixo,honorario fixo,"
            "honorarios fixos"
        ),
        ("value", "amount", "valor", "preco", "quantia"),
        _REAIS,
        Decimal(10) ** 9,
        re.compile(_MONEY),
    ),
    "hourly": _Written(
        _names("hourly,hourly rate,hourlyrate,hour,per hour,hora,horas,por hora,porhora,valor hora"),
        ("rate", "hourly rate", "valor hora", "value", "amount", "valor"),
        _REAIS
        | _names("hour,hours,h,hora,horas,per hour,por hora,brl hour,brl h,r h,r hora,reais hora,reais por hora"),
        Decimal(10) ** 9,
        re.compile(rf"{_MONEY}|(\bpor|\bp ?/|\ba|/) ?(hora|hr|h)\b\.?|\bh\b"),
    ),
    "pro_bono": _Written(
        _names("pro bono,probono,gratuito,gratuita,gratis,free,isento,sem custo,sem custos,sem honorarios"),
        (),
        frozenset(),
        Decimal(0),
        re.compile(r"(?!)"),
    ),
}
_TYPE = ("type", "tipo", "fee type", "modelo", "modalidade")
_CURRENCY = ("currency", "moeda")
_UNIT = ("unit", "units", "unidade", "unidades", "scale", "escala", "precision", "exponent")
_THOUSANDS = re.compile(r"\d{1,3}(\.\d{3})+")
_SCALE = re.compile(r"(?P<bare>[\d.,]+) ?(?P<scale>mil|k|milhao|milhoes|mi)\b\.?")
_SCALES = {"mil": 10**3, "k": 10**3, "milhao": 10**6, "milhoes": 10**6, "mi": 10**6}
_IN_WORDS = re.compile(r"\(([^()\d]*)\)")  # after the figure, as contracts have it: 5.000,00 (cinco mil reais)


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
    fields = _fields(model)
    said = _first(fields, _TYPE)
    if not isinstance(said, str):
        raise FeeError("fee_model_unknown")
    kind = next((kind for kind, written in KINDS.items() if _plain(said) in written.names), None)
    if kind is None:
        raise FeeError("fee_model_unknown")
    written = KINDS[kind]
    if not written.fields:
        return Fee(kind, Decimal(0))
    if _plain(str(_first(fields, _CURRENCY) or "")) not in _REAIS:  # dollars are not reais
        raise FeeError("fee_value_invalid")
    if _plain(str(_first(fields, _UNIT) or "")) not in written.units:  # nor are cents, nor a fraction a percentage
        raise FeeError("fee_value_invalid")
    exact = number(_first(fields, written.fields), kind)
    figure = exact.quantize(Decimal("0.01"), ROUND_HALF_UP) if 0 <= exact <= written.most else Decimal(-1)
    if figure < 0 or (exact > 0 and figure == 0):
        raise FeeError("fee_value_invalid")
    if kind == "success" and 0 < exact < 1:  # 0.2: a fifth of a percent, or twenty
        raise FeeError("fee_value_invalid")
    return Fee(kind if figure else "pro_bono", figure)


def number(value: object, kind: Kind) -> Decimal:
    """A figure as it is written. Raises FeeError for what is none, or could be read in two ways.

    In a text a comma separates decimals, and dots thousands where they stand so; a percentage has no thousands.
    """
    if isinstance(value, str):
        return _of_text(value, kind)
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, float | Decimal) or not math.isfinite(value):
        raise FeeError("fee_value_invalid")
    return Decimal(str(value))


def _fields(model: object) -> Mapping[str, object]:
    """Field, as `_plain` writes it, → value; also of a model that was kept as text."""
    if isinstance(model, str):
        try:
            model = json.loads(model)
        except (ValueError, RecursionError):
            raise FeeError("fee_model_unknown") from None
    if not isinstance(model, Mapping):
        raise FeeError("fee_model_unknown")
    return {_plain(str(key)): value for key, value in model.items()}


def _first(fields: Mapping[str, object], names: tuple[str, ...]) -> object:
    """The first that holds something."""
    found = (fields.get(name) for name in names)
    return next((one for one in found if one is not None and not (isinstance(one, str) and not one.strip())), None)


def _plain(text: str) -> str:
    """Words alone: «valor_fixo» and «Valor Fixo» are one."""
    return " ".join(re.findall("[a-z0-9]+", folded(text)))


def _of_text(text: str, kind: Kind) -> Decimal:
    if len(text) > 200:
        raise FeeError("fee_value_invalid")
    told = folded(text)
    in_words = _IN_WORDS.search(told)
    bare = KINDS[kind].around.sub(" ", _IN_WORDS.sub(" ", told, count=1)).strip(" \"'")
    bare = re.sub(r"(?<=\d)(,-+|[.,])$", "", bare)  # 5.000,- and the end of a sentence
    figure = _of_bare(bare, kind)
    if in_words and (spoken := _spoken(in_words[1])) is not None and spoken != figure:
        raise FeeError("fee_value_invalid")
    return figure


def _of_bare(bare: str, kind: Kind) -> Decimal:
    if kind != "success" and (scaled := _SCALE.fullmatch(bare)):
        return _of_digits(scaled["bare"], percent=True) * _SCALES[scaled["scale"]]
    return _of_digits(bare.replace(" ", "") if re.fullmatch(r"[\d., ]+", bare) else bare, percent=kind == "success")


def _of_digits(bare: str, *, percent: bool) -> Decimal:
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


def _spoken(words: str) -> int | None:
    """The whole number a text in words says: cinco mil e duzentos reais. None where it says none, or cents too."""
    total = part = 0
    found = [word for word in re.findall("[a-z]+", words) if word not in ("e", "de", "reais", "real", "por")]
    if len(found) > 1 and found[-1] == "cento":  # vinte por cento
        found.pop()
    for word in found:
        if word in NUMERALS:
            part += NUMERALS[word]
        elif word in ("mil", "milhao", "milhoes"):
            total, part = total + (part or 1) * _SCALES[word], 0
        else:
            return None
    return total + part if found else None
