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
            "success,success fee,successfee,sucesso,taxa de sucesso,exito,taxa de exito,honorarios de exito,ad exito,"
            "ad exitum,honorarios ad exitum,exitum,contingency,contingency fee,contingencia,percentual,percentage,"
            "percent,porcentagem,quota litis,quotalitis"
        ),
        ("percent", "percentage", "percentual", "porcentagem", "value", "valor"),
        _names(",percent,percentage,percentual,porcentagem,por cento,pct"),  # % is nothing
        Decimal(100),
        re.compile(r"%|\bpor ?cento\b|\bpct\b"),
    ),
    "fixed": _Written(
        _names(
            "fixed,fixed fee,fixedfee,flat,flat fee,flatfee,fixo,fixa,valor fixo,preco fixo,honorario fixo,"
            "honorarios fixos,valor fechado,preco fechado"
        ),
        ("value", "amount", "valor", "preco", "quantia"),
        _REAIS,
        Decimal(10) ** 9,
        re.compile(_MONEY),
    ),
    "hourly": _Written(
        _names("hourly,hourly rate,hourlyrate,hour,per hour,hora,horas,por hora,porhora,valor hora,hora trabalhada"),
        ("rate", "hourly rate", "valor hora", "value", "amount", "valor"),
        _REAIS
        | _names("hour,hours,h,hora,horas,per hour,por hora,brl hour,brl h,r h,r hora,reais hora,reais por hora"),
        Decimal(10) ** 9,
        re.compile(rf"{_MONEY}|(\bpor|\bp ?/|\ba|/) ?(hora|hr|h)\b\.?( trabalhada)?|\bhr?\b"),
    ),
    "pro_bono": _Written(
        _names("pro bono,probono,gratuito,gratuita,gratis,free,isento,voluntario,sem custo,sem custos,sem honorarios"),
        (),
        frozenset(),
        Decimal(0),
        re.compile(r"(?!)"),
    ),
}
_TYPE = ("type", "tipo", "fee type", "modelo", "modalidade")
_CURRENCY = ("currency", "moeda")
_UNIT = ("unit", "units", "unidade", "unidades", "scale", "escala", "precision", "exponent")
_PERIOD = ("per", "period", "periodo", "periodicidade", "frequency", "frequencia", "interval", "recorrencia")
_FIGURES = tuple({name for written in KINDS.values() for name in written.fields})
_NOTHING = re.compile(r"[\W_0]*")  # what a form leaves in the field of the kind that was not chosen
_SHARE = re.compile(r"1/([2-9]|10)")
_THOUSANDS = re.compile(r"\d{1,3}(\.\d{3})+")
_SCALE = re.compile(r"(?P<bare>[\d.,]+) ?(?P<scale>mil|k|milhao|milhoes|mi)\b\.?")
_SCALES = {"mil": 10**3, "k": 10**3, "milhao": 10**6, "milhoes": 10**6, "mi": 10**6}
_IN_BRACKETS = re.compile(r"\(([^()]*)\)")


class FeeError(ValueError):
    """A fee no contract can state; `reason`: fee_model_unknown, fee_value_invalid or fee_two_figures."""

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
    chosen = _first(fields, written.fields)
    others = [value for name in _FIGURES if (value := fields.get(name)) and not _is_nothing(value)]
    if (chosen is not None or not written.fields) and any(str(value) != str(chosen) for value in others):
        raise FeeError("fee_two_figures")  # 20 percent, and 5,000: the contract would leave out one of them
    if not written.fields:
        return Fee(kind, Decimal(0))
    if _plain(str(_first(fields, _CURRENCY) or "")) not in _REAIS:  # dollars are not reais
        raise FeeError("fee_value_invalid")
    for said_of in (_UNIT, _PERIOD):  # nor are cents, nor a fraction a percentage, nor 500 a month 500
        if _plain(str(_first(fields, said_of) or "")) not in written.units:
            raise FeeError("fee_value_invalid")
    exact = number(chosen, kind)
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
    if isinstance(model, str) and _plain(model[:100]) in KINDS["pro_bono"].names:
        return {"type": model}
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


def _is_nothing(value: object) -> bool:
    return isinstance(value, str | int | float) and bool(_NOTHING.fullmatch(str(value)))


def _plain(text: str) -> str:
    """Words alone: «valor_fixo» and «Valor Fixo» are one."""
    return " ".join(re.findall("[a-z0-9]+", folded(text)))


def _of_text(text: str, kind: Kind) -> Decimal:
    """The figure in digits, in words with their unit, or in both, as contracts have it: 5.000,00 (cinco mil reais)."""
    told = folded(text)
    if _plain(told) in KINDS["pro_bono"].names:
        return Decimal(0)
    if len(text) > 200 or not (any(map(str.isdigit, told)) or KINDS[kind].around.search(told)):
        raise FeeError("fee_value_invalid")
    parts = (_IN_BRACKETS.sub(" ", told, count=1), *_IN_BRACKETS.findall(told)[:1])
    figures = {_of_part(bare, kind) for part in parts if "centavo" not in part and (bare := _bare(part, kind))}
    if len(figures) != 1:
        raise FeeError("fee_value_invalid")
    return figures.pop()


def _bare(part: str, kind: Kind) -> str:
    return re.sub(r"(?<=\d)(,-+|[.,;])$", "", KINDS[kind].around.sub(" ", part).strip(" \"'"))  # 5.000,-


def _of_part(bare: str, kind: Kind) -> Decimal:
    if kind != "success" and (scaled := _SCALE.fullmatch(bare)):
        return _of_digits(scaled["bare"], percent=True) * _SCALES[scaled["scale"]]
    if kind == "success" and (share := _SHARE.fullmatch(bare)):
        return Decimal(100) / int(share[1])
    if not any(map(str.isdigit, bare)):
        return _spoken(bare)
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


def _spoken(words: str) -> Decimal:
    """The whole number that words say: cinco mil e duzentos. Raises FeeError where they say more or less."""
    total = part = 0
    below, scale = 1000, 10**7  # of what may follow
    for word in (found := [word for word in words.split() if word not in ("e", "de")]):
        if word in NUMERALS and NUMERALS[word] < below:
            part += NUMERALS[word]
            below = 100 if NUMERALS[word] >= 100 else 10 if NUMERALS[word] >= 20 else 0
        elif word in _SCALES and _SCALES[word] < scale:
            scale = _SCALES[word]
            total, part, below = total + (part or 1) * scale, 0, 1000
        else:
            raise FeeError("fee_value_invalid")
    if not found:
        raise FeeError("fee_value_invalid")
    return Decimal(total + part)
