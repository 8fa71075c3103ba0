"""Takes personal data out of a text before it leaves for another company (LGPD). Pure.

Masked by their form: CPF, CNPJ (also with letters), OAB, CNJ process numbers, phones, e-mails, CEP, random PIX keys
and any other long number; and the names the caller knows. Names nobody told us of are not recognised.
"""

import re
import unicodedata
from collections.abc import Iterable

from litgo_pipelines.intake.text import fold

_UF = "(?:AC|AL|AP|AM|BA|CE|DF|ES|GO|MA|MT|MS|MG|PA|PB|PR|PE|PI|RJ|RN|RS|RO|RR|SC|SP|SE|TO)"
_NUMBER_SIGN = r"(?:\s*(?:n[.º°ro]*|número|numero|:)){0,2}\s*"
# In this order: what is masked no longer matches what follows.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (f"[{name}]", re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("E-MAIL", r"[\w.+%-]{1,64}\s?(?:@|[(\[]\s?(?:at|arroba)\s?[)\]])\s?[\w-]+(?:\s?\.\s?[\w-]+)+"),
        ("E-MAIL", r"[\w.+%-]{1,64}@[\w-]+"),
        ("CHAVE", r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
        ("PROCESSO", r"\b\d{7}\s?-?\s?\d{2}\s?\.?\s?\d{4}\s?\.?\s?\d\s?\.?\s?\d{2}\s?\.?\s?\d{4}\b"),
        ("CNPJ", r"\b[0-9a-z]{2}\.[0-9a-z]{3}\.[0-9a-z]{3}\s?/\s?[0-9a-z]{4}\s?-\s?\d{2}\b"),
        ("CNPJ", r"\b\d{8}\s?/?\s?\d{4}\s?-?\s?\d{2}\b"),
        ("CPF", r"\b\d{3}[.\s]?\d{3}[.\s]?\d{3}\s?[-/.]?\s?\d{2}\b"),
        ("OAB", rf"\bOAB\b[\s/.-]*{_UF}?\b[\s/.,-]*{_NUMBER_SIGN}\d{{1,3}}\.?\d{{3}}(?:[\s/-]*[A-Z]?[\s/-]*{_UF})?\b"),
        ("OAB", rf"\b\d{{2,3}}\.?\d{{3}}\s?/\s?{_UF}\b"),
        ("TELEFONE", r"(?:\+?\s?55[\s.-]?)?(?:\(\s?0?\d{2,3}\s?\)|\b0?\d{2}\b)[\s.-]*9?[\s.-]?\d{4}[\s.-]?\d{4}\b"),
        ("TELEFONE", r"\b9?\d{4}[\s.-]\d{4}\b"),
        ("CEP", r"\b\d{2}\.?\d{3}\s?-\s?\d{3}\b|\bCEP\b[\s:nº°.]*\d{8}\b"),
        ("NÚMERO", r"(?<!R\$)(?<!R\$\s)\b\d(?:[.\s-]?\d){6,}(?:\s?-?\s?[xX])?\b"),
    )
)  # fmt: skip
_PARTICLES = frozenset({"da", "das", "de", "do", "dos", "e"})
NAME = "[NOME]"


def mask(text: str, names: Iterable[str | None] = ()) -> str:
    """The text without personal data. `names`: each word of them but particles goes, whatever its accents."""
    text = unicodedata.normalize("NFKC", text)
    for placeholder, pattern in _PATTERNS:
        text = pattern.sub(placeholder, text)
    hidden = {word for name in names if name for word in re.findall(r"\w+", fold(name)) if len(word) > 1} - _PARTICLES
    if hidden:
        text = re.sub(r"(?<!\[)\b\w+\b", lambda found: NAME if fold(found[0]) in hidden else found[0], text)
    return text
