"""E-mail addresses as people write and disguise them, links, profiles, payment keys, streets with a number. Pure."""

import re
from ipaddress import IPv6Address
from itertools import pairwise

from litgo_pipelines.intake.masking.findings import Findings
from litgo_pipelines.intake.masking.vocabulary import lists, words

_PROVIDER = (
    r"(?:g\s?-?mail|hotmail|outlook|yahoo|uol|bol|icloud|terra|live|msn|globo|globomail|protonmail|proton|ig"
    r"|aol|zipmail|oi|r7"
    r"|ymail|rocketmail|me|jemeio|jmail|gmial|hotmal)"
)
_PROVIDERS = (
    "mail",
    "outlook",
    "yahoo",
    "uol",
    "bol",
    "icloud",
    "terra",
    "live",
    "globo",
    "proton",
    "ig.",
    "msn",
    "aol",
)
_DOT = r"(?:\s?[.,]\s?|\s?[(\[{<]\s?(?:dot|ponto|\.)\s?[)\]}>]\s?|\s(?:ponto|dot|pt|pto)\s)"
_AT = re.compile(
    r"\s?(?:@|%40)\s?|\s?[(\[{<]{1,2}\s?(?:at|arroba|a|@)\s?[)\]}>]{1,2}\s?|\s?[*_]{1,2}(?:at|arroba|@)[*_]{1,2}\s?|\s?\b(?:arroba|arrouba|aroba)\b\s?"
    rf"|\s(?:at|no|em|do)\s(?={_PROVIDER}{_DOT}com)|\b(?:arroba)(?={_PROVIDER})|#(?={_PROVIDER}{_DOT})"
)
_TLD = r"(?:com|br|net|org|gov|edu|adv|jus|me|io|co|eu|pt|info|app|dev|online|tech|med|eng|ind|mil|us)"
_DOMAIN = re.compile(
    rf"(?:[\w\-]+(?:{_DOT}[\w\-]+){{0,2}}{_DOT}{_TLD}(?:{_DOT}{_TLD})?"
    rf"|{_PROVIDER}(?:{_DOT}com|\s?com)?(?:{_DOT}?\s?br)?)(?![^\W_])"
)
_BARE = re.compile(r"[\w\-]+")
_JOINT = (
    r"(?:\s[._+\-]\s?|[._+\-]\s|\s(?:ponto|pt|underline|underscore|anderline|traco|tracinho|hifen|mais|dot)\s|"
    r"[(\[](?:ponto|dot)[)\]])"
)
_LOCAL = re.compile(rf"(?<![\w])[\w.+%\-]{{1,64}}(?:{_JOINT}[\w+%\-]{{1,40}}){{0,5}}\Z|[\w.+%\-]{{1,64}}\Z")
_SPACED_LOCAL = re.compile(r"(?<!\w)\w(?:\s[\w._\-]){1,40}\Z")
_SPACED_DOMAIN = re.compile(r"[\w](?:\s[\w.]){3,40}(?!\w)")
_WORD_MAIL = re.compile(
    rf"(?<!\w)(?:e-?mail|correio)\b[^\x01@]{{0,25}}?[\s:](?P<v>[\w.+\-]{{2,40}}\s(?:no\s|do\s"
    rf"|em\s)?{_PROVIDER}(?:\s?[.,]?\s?com)?"
    r"(?:\s?[.,]?\s?br)?)(?!\w)"
)

_LINK = re.compile(
    r"(?:https?|hxxps?|ftp)\s?:\s?/\s?/\s?[^\s\x01<>\"']{2,400}|(?:[\w\-]{1,40}\.){1,4}(?:com|br"
    r"|net|org|me|io|co|app|dev|info|ly|gl|be|gg|tv|cc|site|online|store|link|us|pt)/[^\s\x01<>\"']{1,400}"
    r"|(?<!\w)(?:tel|whatsapp|mailto|tg|sms):[^\s\x01]{4,60}"
)
_PUBLIC_SITE = re.compile(
    r"(?:https?://)?(?:[\w\-]+\.){1,5}(?:gov|jus|leg|mp|def)\.br(?:/[^\d]*|/[^?@]*/l\d[\w.]*)?\Z|https?://"
    r"[\w.\-]+/?\Z"
)
_HANDLE = re.compile(r"(?<![\w@])@\s?[a-z0-9_][\w.]{1,40}")
_NETWORK = re.compile(
    r"(?<![^\W_])(?:insta(?:gram)?|face(?:book)?|fb|twitter|tik\s?tok|telegram|linkedin|skype|discord|kwai"
    r"|snap(?:chat)?|perfil|user(?:name)?"
    r"|usuario|nick|arroba)\b[^\x01\n]{0,20}?(?<![\w])(?P<v>(?=[\w.]{0,40}(?:[._]\w|\d))[a-z][\w.]{2,40}\w)(?!\w)"
)
_NETWORK_NAMED = re.compile(
    r"(?<![^\W_])(?:insta(?:gram)?|face(?:book)?|fb|twitter|tik\s?tok|telegram|skype|discord|kwai)\s?"
    r"(?::|eh\s|d[eo]l[ea]\s(?:e|eh)\s|(?<=meu\sinsta\s)e\s|(?<=meu\sinstagram\s)e\s|(?<=meu\sface\s)e\s|(?<=meu\sfacebook\s)e\s)\s?"
    r"(?P<v>[a-z][\w.]{3,40})(?!\w)"
)
_KEY = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}[\s\-]?(?:[0-9a-f]{4}[\s\-]?){3}[0-9a-f]{12}(?![0-9a-z])")
_SHORT_KEY = re.compile(r"(?<!\w)(?:pix|chave)\b[^\d\x01]{0,25}?(?P<v>\d(?:[.\s\-/]?\d){5,14})(?!\d)")
_IP = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{1,4})?(?![\w:])")
_DEVICE = re.compile(r"(?<![\w:.-])(?=\S{0,16}[a-f])[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}(?![\w:-])")
_POSITION = re.compile(r"(?<![\w.,])-?\d{1,2}\.\d{4,16}°?\s?[,;/]?\s?-?\d{1,3}\.\d{4,16}(?![\w.]|,\d)")
# A key of a program, a signed token, a wallet: letters and figures mixed too often for a word with a year
_SECRET = re.compile(r"(?<![\w.-])[\w-][\w.=-]{22,600}[\w=](?![\w-])")
_MIXED = re.compile(r"[a-z]\d|\d[a-z]")

_STREET = (
    r"(?:rua|r\.?(?=\s[a-z0-9]{2})|avenida|av\.?|aven\.?|travessa|trav\.?|tv\.?|alameda|al\.|praca|pca\.?|rodovia|rod\."
    r"|estrada|estr\.?|viela|beco|ladeira"
    r"|largo|servidao|vila|passagem|quadra|conjunto|loteamento|sitio|chacara|fazenda|condominio|residencial)"
)
_STOPS = (
    r"(?!(?:desde|em|ha|por|com|que|as|no|na|para|pra|quando|dia|perto|e|eu|ele|ela|foi|fica|onde|onze"
    r"|tem|sem|ate|nao|ja|mas|br)\b)"
)
_NUMBER = (
    r"(?:[\s,\-]{0,3}(?:n[.o]{0,2}|num\.?|numero|nr\.?|casa|lote|lt|bloco|apto|apt|km|prox\.?)?"
    r"[\s.:,#]{0,3})(?:\d{1,2}\.\d{3}|\d{1,5})(?:-?[a-d]\b)?"
    r"(?![\d.,]*\d|\s?(?:reais|anos|dias|meses|horas|h\b|%|mil\b))"
)
_MORE = (
    r"(?:[\s,;.\-/]{1,3}(?:(?:apto?|apartamento|ap|bl|bloco|casa|cs|fundos|sala|sl|conj|conjunto|cj|torre"
    r"|andar|lote|lt|quadra|qd|q|edificio|ed)"
    r"\.?\s?(?:n\s?)?(?:\d{1,5}[a-z]?\b|[a-z]\b)|fundos\b|sobrado\b|terreo\b)){0,4}"
)
_WORD = r"[a-z0-9'.ºª]{1,20}"
_ADDRESS = re.compile(
    rf"(?<![^\W_]){_STREET}(?:\s?[:=]\s{{0,3}}|\s{{1,3}})(?:{_STOPS}{_WORD}\s?){{1,7}}?(?:{_NUMBER}|[\s,]{{1,3}}s/?n\b){_MORE}"
    rf"|(?<![^\W_])(?:sq[ns]w?|q[neirs][a-z]?|sh[isc][a-z]?(?:\s?q[il])?|cl[ns]w?|qnm|qnn|qnl|qe|qi|ql)\s?\d{{1,3}}(?:"
    rf"[\s,]{{1,2}}(?:bloco|bl|conjunto|conj|cj|lote|casa|apto?|apartamento|ap|sala|lt)\.?\s?"
    rf"[a-z0-9]{{1,4}}\b){{1,5}}"
    rf"|(?<![^\W_])(?:quadra|qda|qd|q)\.?\s?\d{{1,4}}[a-z]?[\s,\-]{{1,3}}(?:lote|lt|casa|cs|conjunto"
    rf"|conj|cj)\.?\s?(?:\d{{1,4}}|[a-z]\b){_MORE}"
    r"|(?<![^\W_])(?:apto?|ap|apartamento|bloco|bl)\.?\s?(?:n\.?\s?)?\d{1,4}[a-z]?[\s,\-]{1,3}(?:bloco|bl|torre|apto?|ap"
    r"|apartamento)\.?\s?[a-z0-9]{1,3}\b"
)
_DIGIT = re.compile(r"\d|s/?n\b")
_LIVES = re.compile(
    rf"(?<![^\W_])(?:mor[aoe](?:mos|m|ndo|va)?|morei|resid(?:o|e|em|imos|ente)|domiciliad[oa]|endereco"
    rf"|residencia)\b[^\d\x01.;!?]{{0,30}}?"
    rf"(?<![^\W_])(?P<v>{_STREET}(?:\s{_STOPS}{_WORD}){{1,6}})"
)
_STREET_SIGNS = re.compile(
    rf"(?<![^\W_])(?:{_STREET}|sq[ns]w?|q[a-z]{{0,2}}|sh[a-z]{{1,2}}|cl[ns]w?|qda?|apto?|ap|apartamento|bloco|bl)(?![^\W\d_])"
)


def contact(findings: Findings) -> None:
    """Take addresses of every sort; before documents, whose numbers stand in links too."""
    _mail(findings)
    if "/" in findings.low or ":" in findings.low:
        findings.take_at(
            _links(findings), _LINK, "[LINK]", lambda found: not _PUBLIC_SITE.match(found[0].rstrip(".,;)"))
        )
    if "@" in findings.low:
        findings.take_at(findings.signs(("@",)), _HANDLE, "[PERFIL]")
    networks = findings.signs(_NETWORK_SIGNS)
    findings.take_at(networks, _NETWORK, "[PERFIL]")
    findings.take_at(networks, _NETWORK_NAMED, "[PERFIL]", lambda found: found["v"] not in _NO_PROFILES | lists().any)
    if "::" in findings.low or findings.low.count(":") >= 7:
        findings.take(_IPV6, "[NÚMERO]", _ipv6)
    if numbers := findings.numbers:
        findings.take_at(numbers, _IP, "[NÚMERO]", lambda found: all(int(part) < 256 for part in found[0].split(".")))
        findings.take(_KEY, "[CHAVE]")
        findings.take(_SECRET, "[SENHA]", lambda found: len(_MIXED.findall(found[0])) > 2)
        findings.take(_DEVICE, "[NÚMERO]")
        findings.take(_POSITION, "[ENDEREÇO]")
        findings.take_at(findings.signs(("pix", "chave")), _SHORT_KEY, "[CHAVE]")
    findings.take_at(_streets(findings.low), _ADDRESS, "[ENDEREÇO]")
    findings.take_at(findings.signs(("mor", "resid", "domiciliad", "endereco")), _LIVES, "[ENDEREÇO]")


_NETWORK_SIGNS = (
    *("insta", "face", "fb", "twitter", "tik", "telegram", "linkedin", "skype", "discord", "kwai", "snap", "perfil"),
    *("user", "usuario", "nick", "arroba"),
)


def _ipv6(found: re.Match[str]) -> bool:
    try:
        figures = found[0].count(":") == 7 and all(len(part) < 3 and part.isdigit() for part in found[0].split(":"))
        return len(found[0]) > 2 and not figures and bool(IPv6Address(found[0]))
    except ValueError:
        return False


_LINK_SIGNS = ("http", "hxxp", "ftp", "tel:", "whatsapp:", "mailto:", "tg:", "sms:")
_LONGEST_HOST = 80


def _links(findings: Findings) -> list[int]:
    """Where a link may begin: at its scheme, or at the host before a slash."""
    low, places = findings.low, set(findings.signs(_LINK_SIGNS))
    for slash in findings.signs(("/",)):
        at, least = slash, max(slash - _LONGEST_HOST, 0)
        while at > least and (low[at - 1].isalnum() or low[at - 1] in ".-_"):
            at -= 1
        places.add(at)
    return sorted(places)


def _streets(low: str) -> list[int]:
    """Where an address may begin: a word of streets with a digit not far behind it."""
    return [sign.start() for sign in _STREET_SIGNS.finditer(low) if _DIGIT.search(low, sign.end(), sign.end() + 90)]


_NO_PROFILES = words("network_word")


def _mail(findings: Findings) -> None:
    """Every sign of an address with what stands before and after it."""
    low = findings.low
    spans: list[tuple[int, int, str]] = []
    last = 0
    for place in _signs_of_mail(findings):
        at = _AT.match(low, place)
        if at is None or at.start() < last:
            continue
        begin = max(at.start() - 120, last)
        before = _local(low, begin, at.start())
        after = _domain(low, at.end(), at[0] in ("@", "%40"))
        if before is None or after is None:
            continue
        spans.append((before, after, "[E-MAIL]"))
        last = after
    findings.take_spans(_apart(spans))
    findings.take_at(findings.signs(("mail", "email", "e-mail", "correio")), _WORD_MAIL, "[E-MAIL]")


def _signs_of_mail(findings: Findings) -> list[int]:
    """Where an «@» of some sort may begin, with the blank before it."""
    low = findings.low
    places = findings.signs(("@", "%40", "arroba", "arrouba", "aroba", "#", "(", "[", "{", "<", "*", "_"))
    before = [place - 1 for place in places if place and low[place - 1].isspace()]
    if any(provider in low for provider in _PROVIDERS):
        before += findings.signs((" at ", " no ", " em ", " do "))
    return sorted({*places, *before})


def _local(low: str, begin: int, end: int) -> int | None:
    if end == begin or not (low[end - 1].isalnum() or low[end - 1] in "._-+%"):
        return None
    window = low[begin:end]
    spaced = _SPACED_LOCAL.search(window)
    found = spaced or _LOCAL.search(window)
    return begin + found.start() if found else None


def _domain(low: str, begin: int, sure: bool) -> int | None:
    spaced = _SPACED_DOMAIN.match(low, begin)
    if spaced and "." in spaced[0]:
        return spaced.end()
    found = _DOMAIN.match(low, begin) or (_BARE.match(low, begin) if sure else None)
    return found.end() if found else None


def _apart(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    return [spans[0], *(later for earlier, later in pairwise(spans) if later[0] >= earlier[1])] if spans else []
