"""Words as they are compared: folded; and the numerals of Portuguese. Pure.

What the database compares is folded there, by `litgo.folded`; its counterpart is `intake/text.fold`.
"""

import unicodedata

# Folded numeral → its value. «Meia», six where digits are dictated, is none.
NUMERALS: dict[str, int] = {
    word: first + step * place
    for first, step, words in (
        (0, 1, "zero um dois tres quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis"),
        (17, 1, "dezessete dezoito dezenove"),
        (20, 10, "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cem"),
        (200, 100, "duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos"),
    )
    for place, word in enumerate(words.split())
} | {"uma": 1, "duas": 2, "catorze": 14, "cento": 100}


def folded(text: str) -> str:
    """Lower case, without accents, characters of no width and other forms of digits and signs; single blanks."""
    marks = unicodedata.normalize("NFKD", text.casefold())
    kept = (letter for letter in marks if not unicodedata.combining(letter) and unicodedata.category(letter) != "Cf")
    return " ".join("".join(kept).split())
