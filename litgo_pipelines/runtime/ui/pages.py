"""Pure: the pages of the login, in Portuguese."""

import html

STYLE = (
    "body{font:16px system-ui,sans-serif;background:#f3f4f6;display:grid;place-items:center;min-height:90vh}"
    "form{background:#fff;padding:2rem;border-radius:.5rem;display:grid;gap:.75rem;width:18rem}"
    "input,button{font:inherit;padding:.5rem}p{color:#b91c1c;margin:0}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


def _page(title: str, form: str) -> str:
    return (
        f'<!doctype html><html lang="pt-BR"><meta charset="utf-8"><title>{title} · LITGO</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{form}</html>'
    )


def login(action: str, following: str, message: str = "") -> str:
    said = f'<p role="alert">{html.escape(message)}</p>' if message else ""
    return _page(
        "Entrar",
        f'<form method="post" action="{html.escape(action)}"><h1>LITGO</h1>{said}'
        '<label>Usuário <input name="name" autocomplete="username" autofocus required maxlength="64"></label>'
        '<label>Senha <input name="password" type="password" autocomplete="current-password" required></label>'
        f'<input type="hidden" name="next" value="{html.escape(following)}"><button>Entrar</button></form>',
    )


def logout(action: str, name: str) -> str:
    return _page(
        "Sair",
        f'<form method="post" action="{html.escape(action)}"><h1>LITGO</h1>'
        f"<span>Conectado como {html.escape(name)}</span><button>Sair</button></form>",
    )
