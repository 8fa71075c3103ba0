"""Numbers said in words, as people dictate them: «um dois três ponto quatro», «doze trinta e quatro». Pure."""

from litgo_pipelines.marketplace.words import NUMERALS

_WORDS = "|".join([*NUMERALS, "meia", "mil"])
NUMBER_WORD = rf"\b(?:{_WORDS})\b"
_PART = rf"(?:\b(?:{_WORDS})\b|\d{{1,4}}\b)"
_BETWEEN = r"[\s,.;/\-]{1,3}(?:(?:e|ponto|traco|tracinho|barra|hifen|digito|virgula|contra)[\s,.]{1,2}){0,2}"
# After a keyword: three parts are enough, the first a word.
SPOKEN = rf"(?:\d{{1,3}}\s)?(?:{_WORDS})\b(?:{_BETWEEN}{_PART}){{2,29}}"
# Without one: eight parts, and no sum of money.
ALONE = rf"\b(?:{_WORDS})\b(?:{_BETWEEN}{_PART}){{7,29}}(?!\s(?:reais|mil\b|milh))"
SIGNS = ("zero", "um ", "dois", "tres", "quatro", "cinco", "seis", "sete", "oito", "nove", "meia", "onze", "vinte")
