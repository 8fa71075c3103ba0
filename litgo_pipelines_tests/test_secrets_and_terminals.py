"""Keys go where nobody reads along; what a command prints moves no cursor."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from litgo_pipelines import cli
from litgo_pipelines.cli.session import plain, say
from litgo_pipelines.settings import Settings

SERVICES = ("openai_base_url", "docusign_base_url", "docusign_auth_url", "onesignal_base_url", "sendgrid_base_url")


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "http://10.0.0.5:8080",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://127.0.0.1@evil.example",
        "HTTP://0.0.0.0",
        "ftp://localhost",
        "//localhost",
        "localhost:80",
        "https://",
        "http://[::ffff:8.8.8.8]",
        "http://[",
    ],
)
def test_a_key_is_not_sent_in_the_clear(name: str, url: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        Settings.model_validate({name: url})


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "url",
    ["https://api.example/v1", "HTTPS://api.example", "http://127.0.0.1:1", "http://localhost:8", "http://[::1]:8", ""],
)
def test_it_is_sent_encrypted_or_to_this_machine(name: str, url: str) -> None:
    assert getattr(Settings.model_validate({name: url}), name) == url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ação de alimentos\tR$ 1.000\n", "Ação de alimentos\tR$ 1.000\n"),
        ("\x1b[2J\x1b[1;31mpago", "�[2J�[1;31mpago"),
        ("\x1b]0;title\x07", "�]0;title�"),
        ("aprovado\rrecusado", "aprovado�recusado"),
        ("a\r\nb", "a\nb"),
        ("\x9b31m", "�31m"),
        ("abc\u202efdp.exe", "abc�fdp.exe"),
        ("ana\u061c\u2067x\u2028y", "ana��x�y"),
        ("in\u200bvis\U000e0041\u2060", "in�vis��"),
        ("\x00\x08\x7f\ufeff", "����"),
        ("São João 😀 ñ 中文", "São João 😀 ñ 中文"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(text) == shown
    say(text, nl=False)
    assert capsys.readouterr().out == shown


def test_every_command_prints_through_it() -> None:
    for file in Path(cli.__file__).parent.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        direct = re.findall(r"typer\.(?:secho|echo)\(|\bprint\(|stdout\.write\(", text)
        assert direct == (["typer.echo("] if file.name == "session.py" else []), file.name
