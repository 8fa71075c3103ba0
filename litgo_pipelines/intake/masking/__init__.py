"""Masking: personal data removed from a text before it leaves for another company (LGPD). Pure.

What is known by its form is in `forms` and `contact`, persons' names in `names`. How much of it is found is measured on
annotated texts: `measure`, docs/privacy.md. What is not masked stays exactly as it was written.
"""

import re
from collections.abc import Iterable

from litgo_pipelines.intake.masking.contact import contact
from litgo_pipelines.intake.masking.findings import Findings
from litgo_pipelines.intake.masking.forms import documents
from litgo_pipelines.intake.masking.names import NAME, known, others, stated
from litgo_pipelines.intake.masking.plain import plain

__all__ = ["NAME", "cover", "mask"]

_PLACEHOLDER = re.compile(
    r"\[(?:nome|e-mail|link|perfil|chave|endereco|nascimento|cpf|cnpj|cnh|oab|passaporte|rne|titulo|pis|beneficio|registro"
    r"|placa|chassi|conta|rg|cep|processo|bo|telefone|numero)\]"
)


def mask(text: str, names: Iterable[str | None] = ()) -> str:
    """The text without personal data. `names`: each word of them but particles goes, whatever its accents."""
    seen = plain(text)
    return seen.masked(text, _spans(seen.text, names))


def cover(text: str, names: Iterable[str | None] = ()) -> list[tuple[int, int, str]]:
    """(start, end, placeholder) of what `mask` takes out of the text."""
    seen = plain(text)
    return [(*seen.written(start, end), placeholder) for start, end, placeholder in _spans(seen.text, names)]


def _spans(text: str, names: Iterable[str | None]) -> list[tuple[int, int, str]]:
    findings = Findings(text)
    if "[" in findings.low:
        findings.keep(found.span() for found in _PLACEHOLDER.finditer(findings.low))
    contact(findings)
    documents(findings)
    known(findings, names)
    stated(findings)
    others(findings)
    return findings.spans
