"""Names of persons: those the caller knows, and those of others that the text itself gives away. Pure.

Others are recognised by frequent Brazilian given names and surnames, by words of kinship, role, employment and
treatment before them, and by «chama», «de nome». Places, institutions and laws that are named after somebody stay.
"""

import re
from collections.abc import Iterable
from functools import cache

from litgo_pipelines.intake.masking.findings import Findings
from litgo_pipelines.intake.masking.plain import plain
from litgo_pipelines.intake.masking.vocabulary import lists, words

NAME = "[NOME]"
PARTICLES = frozenset(("da", "das", "de", "do", "dos", "del", "van", "von", "di"))

TREATMENT, NAMING = words("treatment"), words("naming")
_DOTTED = words("dotted_treatment")  # mean something else too, and treatment only as «D.», «Des.»
_BEFORE = words("before_treatment")
TRIGGERS = words("kinship") | words("role") | TREATMENT
_CONNECTING = words("connecting")  # may stand between such a word and the name
_INSTITUTIONS, _PRIVATE = words("institution"), words("private_place")
_NO_NAME = words("no_name")  # capitalised, and no name: first words of sentences, institutions, months, brands
_ENDS = _NO_NAME | words("end")  # end a name where nothing but «chama» says that it is one
_THINGS = words("thing")  # have a name too
_ENDING = re.compile(
    r"\w{2,}(?:[lrmndk]ilson|nilson|ilson|ersons?|[dlr]erson|ailton|eilton|ielton|enilda|enildo|naldo|valdo"
    r"|gildo|cleide|leide|neide|lane|lene|laine|"
    r"leine|milson|idelson|inaldo|iane|yane|ienny|inete|ivania|ilene|rany|elly|ellen|ylson|welton|wilton"
    r"|clecio|cleia|neia|isson|ysson|yson)\Z"
)
_NOUN = re.compile(  # endings of nouns and participles that no name has which is in no list
    r"(?:cao|coes|mentos?|dades?|ncias?|ivel|iveis|ario|ando|endo|indo|[aiu]d[oa]s?|tivos?|tivas?|ismo|ista|icos?|icas?|mente|ais)\Z"
)
_STOP = re.compile(r"[.!?;\n\d\x01\x02]")
_ARTICLES = frozenset(("a", "o", "da", "do", "pra", "pro", "pela", "pelo", "ao"))
_SUFFIXES = frozenset(("filho", "filha", "neto", "sobrinho", "junior", "jr"))
_TITLES = frozenset(("dr", "doutor", "doutora", "professor", "professora", "padre", "dom", "dona"))
_NO_ENDING = frozenset(
    [
        "person",
        "milhane",
        "higiene",
        "gangrene",
        "sirene",
        "quarentene",
        "planilhane",
        "porcelane",
        "membrane",
        "emfaldo",
    ]
)
_TOKEN = re.compile(r"[^\W\d_]+")
_INITIALS = re.compile(r"(?<![^\W_])[A-Z]\.?(?:\s?(?:d[aeo]s?\s)?[A-Z]\.){1,6}|(?<![^\W_])[A-Z]{3,6}(?![^\W_])")
_SPACED = re.compile(r"(?<!\w)[^\W\d_](?:[\s.\-_][^\W\d_]){2,40}(?!\w)")


_FULL = r"(?P<v>[A-Z][\w']+(?:[ \t]+(?:[Dd][aeoAEO][sS]?|[eE]|[A-Z][\w']*\.?)){0,6}[ \t]+[A-Z][\w']+)"
_STATED = re.compile(  # as deeds introduce a person, and as letters end
    rf"(?<![\w']){_FULL}(?=[ \t]*,[ \t]*(?i:brasileir|solteir|casad[oa]\b|divorciad|viuv|portador[a ]|inscrit[oa] n))"
    r"|(?:^|(?<=[.!?,;\n]))[ \t]*(?i:atenciosamente|cordialmente|respeitosamente|atte?|ass|assinado)\b[ \t]*[.,:;]*\s+"
    rf"{_FULL.replace('<v>', '<w>')}[ \t]*\.?[ \t]*(?:\Z|(?=\n))"
)


class Token:
    """A word, where it stands, and how it is looked up."""

    __slots__ = ("capital", "end", "low", "start", "written")

    def __init__(self, start: int, end: int, written: str) -> None:
        self.start, self.end, self.written = start, end, written
        self.low = written.lower()
        self.capital = written[0] != self.low[0]


def known(findings: Findings, names: Iterable[str | None]) -> None:
    """Take each word of the names but particles: in any case, joined, spaced out, with a diminutive, as initials."""
    full = [re.findall(r"[^\W_]+", plain(name).text.lower()) for name in names if name]
    hidden = {word for words in full for word in words if len(word) > 1} - PARTICLES - {"e"}
    if not hidden:
        return
    starts = tuple(word for word in hidden if len(word) > 2)
    hidden |= {
        f"{word.rstrip('aeo')}{ending}" for word in starts for ending in ("inho", "inha", "zinho", "zinha", "ao")
    }
    longest = sorted((*starts, *PARTICLES, "e"), key=len, reverse=True)
    findings.take_spans(
        [
            (start, end, NAME)
            for start, end in _words_with(findings.low, hidden)
            if (word := findings.low[start:end]) in hidden
            or (word.startswith(starts) and _joined(word, hidden, longest))
        ]
    )
    initials = {"".join(word[0] for word in words if word not in PARTICLES) for words in full} | {
        "".join(word[0] for word in words) for words in full
    }
    low = findings.low
    if any(f"{whole[:1]}." in low or whole in low for whole in initials):
        findings.take_spans(
            [(*found.span(), NAME) for found in _INITIALS.finditer(findings.text) if _are_initials(found[0], initials)]
        )
    if any(f"{word[0]}{blank}{word[1]}{blank}" in low for word in starts for blank in " .-_"):
        findings.take_spans(
            [
                (*found.span(), NAME)
                for found in _SPACED.finditer(findings.low)
                if (word := re.sub(r"[\W_]", "", found[0])) in hidden
                or (word.startswith(starts) and _joined(word, hidden, longest))
            ]
        )


def _words_with(low: str, hidden: set[str]) -> list[tuple[int, int]]:
    """Spans of the words that hold one of the names."""
    spans: set[tuple[int, int]] = set()
    for name in hidden:
        at = low.find(name)
        while at >= 0:
            start, end = at, at + len(name)
            while start and low[start - 1].isalnum():
                start -= 1
            while end < len(low) and low[end].isalnum():
                end += 1
            spans.add((start, end))
            at = low.find(name, end)
    return sorted(spans)


def _joined(word: str, hidden: set[str], parts: list[str]) -> bool:
    """Whether a word is names written together, perhaps with an ending: joaodasilva, joaozinho, joao1985."""
    rest, count = word, 0
    while rest:
        part = next((part for part in parts if rest.startswith(part)), None)
        if part is None:
            break
        rest, count = rest[len(part) :], count + (part in hidden)
    endings = {"", "zinho", "zinha", "inho", "inha", "s", "zao", "adv", "oficial"}
    return bool(count) and (rest in endings or rest.isdigit())


def _are_initials(written: str, initials: set[str]) -> bool:
    letters = re.sub(r"[^A-Z]", "", written).lower()
    if "." not in written:
        return letters in initials
    for whole in initials:
        left = iter(whole)
        if len(letters) >= 2 and whole.startswith(letters[0]) and all(letter in left for letter in letters):
            return True
    return False


def stated(findings: Findings) -> None:
    """Take names that stand where a deed or the end of a letter has one, whatever they are."""
    spans = []
    for found in _STATED.finditer(findings.text):
        start, end = found.span("v" if found["v"] else "w")
        words = [token for token in _TOKEN.finditer(findings.text, start, end) if token[0].lower() not in PARTICLES]
        while words and words[0][0].lower() in _NO_NAME | TRIGGERS | _CONNECTING:
            del words[0]  # «Eu», «Sou»
        if len(words) > 1 and not any(word[0].lower() in _INSTITUTIONS for word in words):
            spans.append((words[0].start(), end, NAME))
    findings.take_spans(spans)


def others(findings: Findings) -> None:
    """Take names nobody told us of."""
    found = [Token(m.start(), m.end(), m[0]) for m in _TOKEN.finditer(findings.text)]
    if found:
        _Others(findings, found).take()


@cache
def _words_of_names() -> frozenset[str]:
    return lists().any | TRIGGERS | NAMING


class _Others:
    def __init__(self, findings: Findings, tokens: list[Token]) -> None:
        self.findings, self.tokens = findings, tokens
        self.lists = lists()
        capitals = sum(1 for token in tokens if len(token.low) > 3 and token.written.isupper())
        self.loud = capitals * 2 > sum(1 for token in tokens if len(token.low) > 3)
        self.titled = not self.loud and (
            len(tokens) > 6 and sum(token.capital for token in tokens) * 10 > 8 * len(tokens)
        )  # Every Word With A Capital
        self.kept = self._kept()
        self.done = 0

    def take(self) -> None:
        spans: list[tuple[int, int, str]] = []
        words_of_names = _words_of_names()
        for number, token in enumerate(self.tokens):
            if number < self.done or not (token.capital or token.low in words_of_names or token.low in _DOTTED):
                continue
            found = self._name_at(number, token)
            if found:
                first, last = found[0], self._last_surname(*found)
                spans.append((self.tokens[first].start, self.tokens[last].end, NAME))
                self.done = last + 1
        self.findings.take_spans(spans)

    def _capital(self, token: Token) -> bool:
        return token.capital and not self.loud and not self.titled

    def _near(self, first: int, second: int, far: int = 3) -> bool:
        """Whether two tokens follow each other with nothing but blanks (a dot after an initial) between them."""
        if second >= len(self.tokens) or first < 0:
            return False
        between = self.findings.text[self.tokens[first].end : self.tokens[second].start]
        short = len(self.tokens[first].low) <= 4
        return (
            len(between) <= far
            and (not between.strip(" \t") or (short and between.strip() == "."))
            and "\n" not in between
        )

    def _kept(self) -> set[int]:
        """Tokens of places, institutions and laws."""
        kept: set[int] = set()
        tokens, places = self.tokens, self.lists.places
        for number, token in enumerate(tokens):
            word = token.low
            if word in places:
                for place in places[word]:
                    there = tuple(each.low for each in tokens[number : number + len(place)])
                    if there == place and not (number and tokens[number - 1].low in TRIGGERS and len(place) == 1):
                        kept.update(range(number, number + len(place)))
                        break
            if word in _INSTITUTIONS and word not in self.lists.sure and number not in kept:
                kept.update(self._institution(number, word, tokens))
        return kept

    def _institution(self, number: int, word: str, tokens: list[Token]) -> Iterable[int]:
        last = number
        while last - number < 7 and self._near(last, last + 1):
            after = tokens[last + 1]
            if after.low in PARTICLES or after.low in ("e", "nossa", "senhora"):
                owner = last + 2 < len(tokens) and tokens[last + 2].low in self.lists.sure
                if owner and word in _PRIVATE and last == number:
                    break
            elif after.low not in _TITLES and (
                after.low in TRIGGERS - self.lists.given or not (self._capital(after) or self.lists.either(after.low))
            ):
                break
            last += 1
        return range(number, last + 1)

    def _name_at(self, number: int, token: Token) -> tuple[int, int] | None:
        """(first, last token) of the name that begins here, or after this word."""
        lists = self.lists
        if token.low in NAMING or token.low in TRIGGERS:
            found = self._after_word(number, token)
            if found:
                return found
        if token.low in _DOTTED or (token.written == "Da" and number):  # «Dª»
            found = self._after_dotted(number, token)
            if found:
                return found
        if number in self.kept:
            return None
        if token.low in lists.sure:
            return self._back(number), self._end(number)
        if token.low in lists.given and self._likely(number, token):
            return self._back(number), self._end(number)
        if token.low in lists.sure_surnames and (self._capital(token) or self._after_given(number)):
            return self._back(number), self._end(number)
        if self._capital(token) and token.low not in _NO_NAME and token.low not in TRIGGERS:
            if _ENDING.match(token.low) and token.low not in _NO_ENDING:
                return number, self._end(number)
            after = self._end(number)
            surnames = {each.low for each in self.tokens[number + 1 : after + 1]} & lists.sure_surnames
            if surnames and not _NOUN.search(token.low):
                return number, after
        return None

    def _likely(self, number: int, token: Token) -> bool:
        """Whether an ambiguous given name is one here: after an article, or followed by a surname or a sure name."""
        after = number + 1
        if (
            self._capital(token)
            and number
            and self.tokens[number - 1].written in _ARTICLES
            and self._near(number - 1, number)
        ):
            return True
        if not self._near(number, after):
            return False
        if self.tokens[after].low in PARTICLES and self._near(after, after + 1):
            after += 1
            return self.tokens[after].low in self.lists.surnames and (
                self._capital(token) or self.tokens[after].low in self.lists.sure_surnames
            )
        follower = self.tokens[after].low
        return (
            follower in self.lists.sure
            or follower in self.lists.sure_surnames
            or (self._capital(token) and self._capital(self.tokens[after]) and self.lists.either(follower))
        )

    def _after_given(self, number: int) -> bool:
        return number > 0 and self._near(number - 1, number) and self.tokens[number - 1].low in self.lists.given

    def _back(self, number: int) -> int:
        """The first token of a name of which a later one was recognised: unknown capitalised words before it."""
        first = number
        while first > self.done and self._near(first - 1, first):
            before = self.tokens[first - 1]
            if (
                first - 1 in self.kept
                or before.low in _NO_NAME
                or before.low in TRIGGERS
                or before.low in NAMING
                or not self._capital(before)
            ):
                break
            if before.written.isupper() and len(before.written) > 1:
                break
            first -= 1
        return first

    def _part(self, token: Token) -> bool:
        """Whether a token can go on a name."""
        if token.low in _NO_NAME and token.low not in self.lists.surnames:
            return False
        if token.low in _SUFFIXES and token.capital:
            return True
        if self._capital(token) and token.low not in TRIGGERS and token.low not in _INSTITUTIONS:
            return not (token.written.isupper() and 1 < len(token.written) <= 5)
        return self.lists.either(token.low) or (len(token.low) == 1 and token.capital)

    def _end(self, number: int) -> int:
        """The last token of the name that begins at a token."""
        last = number
        while last - number < 8 and self._near(last, last + 1):
            after = last + 1
            token = self.tokens[after]
            if token.low in PARTICLES or (token.low == "e" and self._capital(self.tokens[last])):
                joins = token.low == "e"
                if not self._near(after, after + 1):
                    break
                then = self.tokens[after + 1]
                if after + 1 in self.kept and then.low not in self.lists.surnames:
                    break
                if joins and then.low not in self.lists.surnames:
                    break
                if then.low in self.lists.surnames or (
                    self._capital(then)
                    and then.low not in _NO_NAME
                    and token.low != "de"
                    and self._part(then)
                    and self._capital(self.tokens[last])
                ):
                    last = after + 1
                    continue
                break
            if not self._part(token):
                break
            last = after
        return last

    def _after_word(self, number: int, token: Token) -> tuple[int, int] | None:
        """The name after a word of kinship, role, employment or treatment, or after «chama», «nome é»."""
        place = self._value_place(number)
        if place is None:
            return None
        at, steps, naming = place
        here = self.tokens[at]
        if (at in self.kept and here.low not in self.lists.sure) or (naming and here.low in _THINGS):
            return None
        listed = self.lists.either(here.low)
        nameable = here.low not in _NO_NAME | TRIGGERS | _INSTITUTIONS
        if self._capital(here) and nameable and (listed or not _NOUN.search(here.low)):
            last = self._end(at)
            loud = here.written.isupper() and len(here.written) > 1
            if not loud or any(self.lists.either(each.low) for each in self.tokens[at : last + 1]):
                return at, last
            return None
        whole = naming and any(each.low == "completo" for each in self.tokens[number:at])
        end = max(self._end(at), self._whatever(at)) if whole else self._end(at)
        if listed and here.low not in _NO_NAME and self._sure_here(token, at, steps, naming):
            return at, end
        if _ENDING.match(here.low) and here.low not in _NO_ENDING and steps <= 2:
            return at, end
        if naming and here.low not in _ENDS | TRIGGERS and not _NOUN.search(here.low):
            return at, self._whatever(at)
        return None

    def _after_dotted(self, number: int, token: Token) -> tuple[int, int] | None:
        """The name after «D.», «Dª», «Des.»: a listed one; another in capitals where a person may be spoken of."""
        at = number + 1
        if at >= len(self.tokens) or at in self.kept:
            return None
        here, between = self.tokens[at], self.findings.text[token.end : self.tokens[at].start]
        dotted = between.startswith(".")
        if len(between) > 3 or between.removeprefix(".").strip(" \t") or not (dotted or token.low in ("da", "dna")):
            return None
        if here.low in self.lists.given and here.low not in _NO_NAME and (here.capital or dotted):
            return at, self._end(at)
        before = self.tokens[number - 1] if number else None
        room = before is None or before.low in _BEFORE or before.low in _DOTTED
        nameable = here.low not in _NO_NAME | TRIGGERS | _INSTITUTIONS and not _NOUN.search(here.low)
        nameable = nameable and len(here.low) > 1  # «D.N.»
        if dotted and room and token.capital and self._capital(here) and nameable:
            return at, self._end(at)
        return None

    def _value_place(self, number: int) -> tuple[int, int, bool] | None:
        """(token that may begin the name said after a word, words between them, whether they say that it is a name)."""
        first = self.tokens[number]
        naming, copula = first.low in NAMING, first.low not in ("nome", "nomes")
        at, steps = number + 1, 0
        while at < len(self.tokens) and steps < 6:
            before = self.tokens[at - 1]
            between = self.findings.text[before.end : self.tokens[at].start]
            copula = copula or ":" in between or "=" in between
            if before.low in TREATMENT or between.startswith(")"):  # «Dr(a). Lourdes»
                between = between.removeprefix(")").removeprefix(".")
            if len(between) > 4 or _STOP.search(between):
                return None
            here = self.tokens[at]
            if here.low not in _CONNECTING or here.low in self.lists.sure:
                return at, steps, naming and copula
            naming = naming or here.low in NAMING
            copula = (copula and here.low not in ("nome", "nomes")) or here.low in ("e", "eh", "de")
            at, steps = at + 1, steps + 1
        return None

    def _sure_here(self, token: Token, at: int, steps: int, naming: bool) -> bool:
        """Whether a listed word is a name after this word."""
        low = self.tokens[at].low
        return naming or token.low in TREATMENT or low in self.lists.sure or (steps == 0 and low in self.lists.given)

    def _last_surname(self, first: int, last: int) -> int:
        """The last token, or one further: an unknown word that ends the clause in which somebody says a full name."""
        after, said = last + 1, any(each.low in NAMING | {"sou"} for each in self.tokens[max(0, first - 2) : first])
        if not said or last == first or not self._near(last, after) or self.tokens[after].capital:
            return last
        word, ends = self.tokens[after].low, _ENDS | TRIGGERS | NAMING | _INSTITUTIONS
        clause = not self._near(after, after + 1) or self.tokens[after + 1].low in _ENDS
        return after if clause and len(word) > 2 and word not in ends and not _NOUN.search(word) else last

    def _whatever(self, at: int) -> int:
        """The last of at most four words, up to one that ends a name."""
        last = at
        while last - at < 3 and self._near(last, last + 1):
            word = self.tokens[last + 1].low
            if word in _ENDS and word not in PARTICLES:
                break
            last += 1
        while last > at and self.tokens[last].low in PARTICLES:
            last -= 1
        return last
