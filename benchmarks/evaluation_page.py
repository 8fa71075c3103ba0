"""Parts of `docs/evaluation.md`, each rewritten by the command that measures it. The rest of the page stays."""

import re
from pathlib import Path

PARTS = ("fair-allocation", "fair-comings", "public-sets", "olist", "olist-allocation")  # in the order of the page
TITLE = """# Evaluation

What was measured, each part written by the command it names. Between two markers nothing is edited by hand."""


def write_part(docs: Path, name: str, text: str) -> Path:
    """Put `text` in the place of one part; returns the page. Raises ValueError for a page that has no markers."""
    docs.mkdir(parents=True, exist_ok=True)
    page = docs / "evaluation.md"
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    parts = dict(re.findall(r"<!-- (\S+): begin -->\n(.*?)\n<!-- \1: end -->", old, re.DOTALL))
    if old and not parts:
        raise ValueError(f"{page} has no markers of parts: move it away first")
    parts[name] = text.strip()
    blocks = [f"<!-- {part}: begin -->\n{parts[part]}\n<!-- {part}: end -->" for part in PARTS if part in parts]
    page.write_text("\n\n".join([TITLE, *blocks]) + "\n", encoding="utf-8")
    return page
