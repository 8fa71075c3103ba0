"""Pure: the office's page as HTML, in Portuguese. Needs no script, refreshes itself, and fits a narrow window."""

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from litgo_pipelines.notifications.wording import moment

REFRESH_SECONDS = 60
State = Literal["fine", "look", "unread"]
STATES: dict[State, str] = {"fine": "em ordem", "look": "olhar", "unread": "não foi lido"}
UNREAD = "Não foi possível ler isto agora: não quer dizer que não há nada."

STYLE = """
:root{color-scheme:light;--ink:#1f2937;--soft:#5b6472;--line:#d9dee5;--look:#9a3412;--fine:#166534}
*{box-sizing:border-box}
body{margin:0;font:16px/1.45 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:var(--ink);background:#f3f5f8}
header,main{max-width:76rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.25rem}
h1{font-size:1.5rem;margin:0}
header p{margin:.25rem 0 0;color:var(--soft)}
nav{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.25rem,1fr));gap:.75rem;margin:1.25rem 0}
nav a{display:block;background:#fff;border:1px solid var(--line);border-left:.35rem solid var(--fine);
border-radius:.4rem;padding:.6rem .8rem;color:inherit;text-decoration:none}
nav a:focus,nav a:hover{border-color:var(--ink)}
nav strong{display:block;font-size:1.35rem;line-height:1.25}
nav em{font-style:normal;font-size:.85rem;color:var(--fine)}
nav .look{border-left-color:#ea580c}
nav .look em{color:var(--look);font-weight:600}
nav .unread{border-left-color:#b91c1c;background:#fef2f2}
nav .unread em{color:#b91c1c;font-weight:600}
section{background:#fff;border:1px solid var(--line);border-radius:.4rem;padding:.9rem 1rem 1rem;margin:0 0 1rem}
h2{font-size:1.1rem;margin:0 0 .5rem}
section p{margin:.25rem 0;overflow-wrap:anywhere}
.note{color:var(--soft);font-size:.92rem}
.alarm{color:#b91c1c;font-weight:600}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .7rem .4rem 0;border-top:1px solid var(--line)}
th{font-weight:600;color:var(--soft);border-top:0;white-space:nowrap}
td{overflow-wrap:break-word}
tr.urgent td:first-child{color:var(--look);font-weight:600}
@media(max-width:46rem){
thead{display:none}
table,tbody,tr,td{display:block}
tr{border-top:1px solid var(--line);padding:.45rem 0}
td{border:0;overflow-wrap:anywhere;padding:.1rem 0;display:grid;grid-template-columns:8.5rem 1fr;gap:.5rem}
td::before{content:attr(data-label);color:var(--soft)}
}
"""
_SHA = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_SHA}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Row:
    """`urgent`: shown so that one sees it first."""

    cells: tuple[str, ...]
    urgent: bool = False


@dataclass(frozen=True)
class Section:
    """One question of the office. `figure` answers it in a word or two; `lines` and the table say more.

    `alarm`: what to do when somebody is in danger, above the table.
    """

    key: str
    title: str
    figure: str
    state: State = "fine"
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    alarm: str = ""


def unread(key: str, title: str, why: str) -> Section:
    """A question that could not be answered; never shown as an answer of nothing."""
    return Section(key, title, "?", "unread", (UNREAD, f"Motivo: {why}."))


def lasted(seconds: float) -> str:
    """A duration in its two largest units.

    >>> lasted(93_600)
    '1 dia e 2 h'
    """
    minutes = max(int(seconds // 60), 0)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        words = f"{days} dia" if days == 1 else f"{number(days)} dias"
        return words + (f" e {hours} h" if hours and days < 10 else "")
    return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "") if hours else f"{minutes} min"


def number(value: float, digits: int = 0) -> str:
    """As written in Brazil.

    >>> number(1234.5, 1)
    '1.234,5'
    """
    return f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))


def page(sections: Sequence[Section], read_at: datetime, who: str, leave: str | None) -> str:
    """The whole page. `leave`: where one logs out; None where there is no login."""
    cards = "".join(_card(section) for section in sections)
    parts = "".join(_section(section) for section in sections)
    identity = f"{html.escape(who)} · <a href='{html.escape(leave)}'>sair</a>" if leave else "Acesso sem login."
    return (
        '<!doctype html><html lang="pt-BR"><head><meta charset="utf-8"><title>Escritório · LITGO</title>'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><style>{STYLE}</style></head><body><header><h1>Escritório · LITGO</h1>'
        f"<p>Lido em {moment(read_at)}; a página se renova a cada minuto.<br>{identity}</p></header>"
        f"<main><nav>{cards}</nav>{parts}</main></body></html>"
    )


def _card(section: Section) -> str:
    return (
        f'<a class="{section.state}" href="#{html.escape(section.key)}">{html.escape(section.title)}'
        f"<strong>{html.escape(section.figure)}</strong><em>{STATES[section.state]}</em></a>"
    )


def _section(section: Section) -> str:
    said = "".join(f'<p class="note">{html.escape(line)}</p>' for line in section.lines)
    alarm = f'<p class="alarm">{html.escape(section.alarm)}</p>' if section.alarm else ""
    role = ' role="alert"' if section.state == "unread" else ""
    return (
        f'<section id="{html.escape(section.key)}"{role}><h2>{html.escape(section.title)}</h2>{alarm}{said}'
        f"{_table(section) if section.rows else ''}</section>"
    )


def _table(section: Section) -> str:
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in section.columns)
    rows = "".join(_row(section.columns, row) for row in section.rows)
    return f'<div class="table"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(columns: Sequence[str], row: Row) -> str:
    cells = "".join(
        f'<td data-label="{html.escape(name)}">{html.escape(cell)}</td>'
        for name, cell in zip(columns, row.cells, strict=True)
    )
    return f"<tr{' class=urgent' if row.urgent else ''}>{cells}</tr>"
