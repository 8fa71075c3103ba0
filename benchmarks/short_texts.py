"""The most a vector may weigh beside the words of a short query. Writes its part of docs/similarity.md.

    python -m benchmarks.short_texts [folder with tjrj.parquet] [--docs FOLDER]

Court: 3 to 8 words in a row of a court's summary; do they find another summary of its theme. Lay: short questions in a
layperson's words, as in `benchmarks.text_similarity`. Needs pandas and pyarrow; a minute.
"""

import argparse
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.text_similarity import DEFAULT_FOLDER, PROJECT, tfidf
from litgo_pipelines.embeddings import similarity as formula
from litgo_pipelines.embeddings.models import USE, as_texts, load
from litgo_pipelines.embeddings.quality import described, lay_questions, precision
from litgo_pipelines.embeddings.similarity import Space, Texts
from litgo_pipelines.models.metrics import bootstrap, paired_difference

CAPS = (1.0, 2.0, 4.0, 8.0, 16.0, 1e9)
WORDS = (3, 8)
Flags = NDArray[np.bool_]
Figures = dict[str, NDArray[np.float64]]


def cut(text: str, rng: np.random.Generator) -> str:
    """3 to 8 words in a row, from anywhere in the text."""
    words = text.split()
    length = int(rng.integers(WORDS[0], WORDS[1] + 1))
    first = int(rng.integers(0, max(len(words) - length, 0) + 1))
    return " ".join(words[first : first + length])


def gain_at_ten(scores: NDArray[np.floating], same: Flags, *, themselves: bool) -> NDArray[np.float64]:
    """nDCG@10 of each query, relevance 0 or 1; the query's own text is not to be found."""
    scores, same = scores.astype(np.float64).copy(), same.copy()
    if themselves:
        np.fill_diagonal(scores, -np.inf)
        np.fill_diagonal(same, False)
    discount = 1 / np.log2(np.arange(10) + 2)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    found = np.take_along_axis(same, best, axis=1)
    width = found.shape[1]
    wanted = np.minimum(same.sum(axis=1), width)
    ideal = np.r_[0, np.cumsum(discount[:width])][wanted]
    reached = found @ discount[:width]
    return np.divide(reached, ideal, out=np.full(len(scores), np.nan), where=ideal > 0)


def measured(folder: Path) -> tuple[dict[str, Figures], str]:
    """(similarity → task → nDCG@10 of each query, what was measured on)."""
    import pandas as pd

    table = pd.read_parquet(folder / "tjrj.parquet")
    summaries, (themes, _) = table["text"].tolist(), pd.factorize(table["theme"])
    rng = np.random.default_rng(0)
    short = [cut(text, rng) for text in summaries]
    questions, areas = lay_questions()
    names, descriptions = described()
    area = np.array([names.index(each) for each in areas])
    use = load(USE)
    court, pieces, lay, kinds = (as_texts(use, texts) for texts in (summaries, short, questions, descriptions))
    same_theme, same_area = themes[:, None] == themes, area[:, None] == area
    right = area[:, None] == np.arange(len(names))
    # task → (queries, texts, texts that say what is usual, which are of a kind, whether the query is among the texts)
    tasks: dict[str, tuple[Texts, Texts, Texts, Flags, bool]] = {
        "court, 3–8 words": (pieces, court, court, same_theme, True),
        "court, whole": (court, court, court, same_theme, True),
        "lay question → area": (lay, kinds, lay, right, False),
        "lay question → question": (lay, lay, lay, same_area, True),
    }
    plain = {
        "court, 3–8 words": (short, summaries),
        "court, whole": (summaries, summaries),
        "lay question → area": (questions, descriptions),
        "lay question → question": (questions, questions),
    }
    found: dict[str, Figures] = {"TF-IDF of words": {}}
    for task, (asked, texts, usual, same, themselves) in tasks.items():
        found["TF-IDF of words"][task] = gain_at_ten(tfidf(*plain[task]), same, themselves=themselves)
        for most in CAPS:
            name = "hybrid, no cap" if most > 1e6 else f"hybrid, at most {most:g}"
            scores = Space(usual, most=most).scores(asked, texts)
            found.setdefault(name, {})[task] = gain_at_ten(scores, same, themselves=themselves)
            if task == "lay question → area":
                found[name]["P@1"] = precision(scores, same, 1)
    found["TF-IDF of words"]["P@1"] = precision(tfidf(*plain["lay question → area"]), right, 1)
    return found, f"{len(short):,} pieces of court summaries, {len(questions)} questions"


def part(folder: Path) -> str:
    found, about = measured(folder)
    order = ("court, 3–8 words", "court, whole", "lay question → area", "P@1", "lay question → question")
    lines = [
        "| similarity | court, 3–8 words | court, whole | question → area | its P@1 | question → question |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, figures in found.items():
        shown = f"**{name}**" if name == f"hybrid, at most {formula.MOST_WEIGHT:g}" else name
        lines.append(f"| {shown} | " + " | ".join(f"{np.nanmean(figures[task]):.3f}" for task in order) + " |")
    now, before = (found[name] for name in (f"hybrid, at most {formula.MOST_WEIGHT:g}", "hybrid, no cap"))
    gains = []
    for task in order:
        won = paired_difference(now[task], before[task])
        gains.append(f"{'its P@1' if task == 'P@1' else task} {won.mean:+.3f} ({won.low:+.3f} to {won.high:+.3f})")
    (level,) = bootstrap(now[order[0]])
    return f"""Written by `python -m benchmarks.short_texts`. {about}; nDCG@10 over all queries.

{chr(10).join(lines)}

With the weight of vectors at most {formula.MOST_WEIGHT:g} instead of without a limit, paired, 95 %:
{"; ".join(gains)}. Short pieces reach
{level.mean:.3f} ({level.low:.3f} to {level.high:.3f})."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs")
    given = parser.parse_args()
    text = part(given.folder)
    print(text)
    page = given.docs / "similarity.md"
    marked = f"<!-- short-texts: begin -->\n{text}\n<!-- short-texts: end -->"
    old = page.read_text(encoding="utf-8")
    new, times = re.subn(
        r"<!-- short-texts: begin -->.*<!-- short-texts: end -->", lambda _: marked, old, flags=re.DOTALL
    )
    if times != 1:
        raise SystemExit(f"{page} has no markers `short-texts`")
    page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
