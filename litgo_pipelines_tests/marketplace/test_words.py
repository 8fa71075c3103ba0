"""Letters and words as the database reads them, against what Python does."""

import sys
import unicodedata

from litgo_pipelines_tests.worlds.sessions import ask


def test_invisible_are_the_format_characters_of_unicode(database_url: str) -> None:
    letters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    found = ask(
        database_url,
        "SELECT chr(code) FROM generate_series(1, x'10FFFF'::int) AS code "
        "WHERE code NOT BETWEEN x'D800'::int AND x'DFFF'::int AND chr(code) ~ litgo.invisible()",
    )
    invisible = {letter for (letter,) in found}
    assert {letter for letter in letters if unicodedata.category(letter) == "Cf"} <= invisible
    assert {unicodedata.category(letter) for letter in invisible} <= {
        "Cf",
        "Cn",
    }  # Cn: not known to this Python


def test_the_list_is_written_out_once(database_url: str) -> None:
    """A function mended by replacing text in its definition keeps its own list where nothing matched."""
    found = ask(
        database_url,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'litgo'::regnamespace AND prokind = 'f' "
        "AND pg_get_functiondef(oid) ~* '\\\\u(00ad|200|206|feff)'",
    )
    assert found == [("invisible",)]


def test_an_address_is_read_without_them(database_url: str) -> None:
    written = "Mailto: ana\u200b@exemplo\U000e0062.com.br\u2069 "
    assert ask(database_url, f"SELECT litgo.address('{written}')") == [("ana@exemplo.com.br",)]
