"""Numbers said in words, as people dictate them: «um dois três ponto quatro», «doze trinta e quatro». Pure."""

_UNITS = "zero uma um dois duas tres quatro cinco seis meia sete oito nove dez onze doze treze quatorze catorze quinze"
_MORE = (
    "dezesseis dezessete dezoito dezenove vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cento cem "
    "duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos mil"
)
_WORDS = "|".join([*_UNITS.split(), *_MORE.split()])
NUMBER_WORD = rf"\b(?:{_WORDS})\b"
_PART = rf"(?:\b(?:{_WORDS})\b|\d{{1,4}}\b)"
_BETWEEN = r"[\s,.;/\-]{1,3}(?:(?:e|ponto|traco|tracinho|barra|hifen|digito|virgula|contra)[\s,.]{1,2}){0,2}"
# After a keyword: three parts are enough, the first a word.
SPOKEN = rf"(?:\d{{1,3}}\s)?(?:{_WORDS})\b(?:{_BETWEEN}{_PART}){{2,29}}"
# Without one: eight parts, and no sum of money.
ALONE = rf"\b(?:{_WORDS})\b(?:{_BETWEEN}{_PART}){{7,29}}(?!\s(?:reais|mil\b|milh))"
SIGNS = ("zero", "um ", "dois", "tres", "quatro", "cinco", "seis", "sete", "oito", "nove", "meia", "onze", "vinte")
