# ruff: noqa: E501 — Markdown tables do not wrap
"""Page and plots about a replay of real orders. Words and pictures only; nothing is computed but intervals.

The words say what holds whatever the figures are; what depends on a figure is worded by it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.evaluation_page import write_part
from benchmarks.olist_marketplace import NEW_TO_CATEGORY, RADIUS_KM, TIMEZONE, Candidates, Olist
from litgo_pipelines.models.metrics import KS, Interval, bootstrap, paired_difference

MODEL, RECENT, POPULARITY = "model", "recent sales", "popularity"
AHEAD, BEHIND = 0.04, 0.005  # of popularity at least; of recent sales at most


@dataclass
class Replay:
    """What the report is made of."""

    olist: Olist
    found: Candidates
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    nights: pd.DataFrame = field(default_factory=pd.DataFrame)
    retraining: dict[str, Any] = field(default_factory=dict)
    rankers: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # name → NDCG, (held-out cases, len(KS))
    tied: dict[str, float] = field(default_factory=dict)  # name → share of cases where the bought seller ties
    tried: dict[str, Any] = field(default_factory=dict)  # what the retraining tried: name → mean, standard error, …
    list_lengths: dict[str, float] = field(default_factory=dict)  # split → mean number of candidates

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        print(f"{step} …", flush=True)
        yield
        self.seconds[step] = time.monotonic() - started


def write_report(replay: Replay, docs: Path) -> Path:
    """This part of `evaluation.md`, and its plots, in `docs`; returns the page."""
    sections = [
        data_section(replay),
        features_section(),
        equity_section(replay),
        ranking_section(replay),
        runtime_section(replay),
    ]
    page = write_part(docs, "olist", "\n\n".join(sections))
    equity_plot(replay.nights).savefig(docs / "olist_equity.png")
    ranker_plot(replay.rankers).savefig(docs / "olist_ndcg.png")
    return page


def data_section(replay: Replay) -> str:
    orders, pairs, counts = replay.olist.orders, replay.found.pairs, replay.counts
    lengths = pairs.groupby("case").size()
    dropped = "\n".join(f"| {reason} | {n:,} | {n / len(orders):.1%} |" for reason, n in replay.found.dropped.items())
    first, *_, last = orders["purchased"].dt.tz_convert(TIMEZONE).dt.strftime("%Y-%m-%d")
    rows = "\n".join(f"| {table} | {n:,} |" for table, n in counts.items())
    several = len(replay.olist.sales.drop_duplicates(["order", "seller"])) - int((orders["seller"] >= 0).sum())
    return f"""## Real orders: Olist

Written by `python benchmarks/olist_replay.py [folder with the Olist files]`, which repeats everything from here to the end of the
page; only the times differ from run to run.

### Data

A sample of the Olist Brazilian e-commerce data set: {len(orders):,} orders from {first} to {last} with their items, reviews,
customers and sellers, about a fifth of the real volume. Olist's own repository is under MIT, the Kaggle release under
CC BY-NC-SA 4.0. It is treated here as CC BY-NC-SA 4.0 (attribution to Olist, non-commercial, share-alike). The files are no
part of this project: the replay reads them from a folder that it is given and copies nothing of them into the project.

These are shops and parcels, not lawyers and cases. What is measured here is whether the pipelines work on real, untidy,
seasonal data with real people's choices in them. **No figure on this page is evidence about lawyers.**

| marketplace | made from |
|---|---|
| lawyers | sellers; areas: the product categories they ever sold in; no profile data, so that every capacity is the base of 10 |
| cases | orders; area: the category of the first item; place: the customer's zip prefix, else the city |
| contracts | the purchase from the seller of the first item, signed when the payment was approved; closed when delivered |
| reviews | the order's first review, from the moment it was answered |
| offers, matches | **reconstructed**, see below |

| table | rows |
|---|--:|
{rows}

Instants are local times of São Paulo in the files and are read with the daylight saving time of those years. {several:,} further
sellers of orders with several sellers have no contract here; their sales count in the features.

### Reconstructed offers

Olist logs no list of candidates, no exposure, no accepting and no declining. The offers are made up from what was
possible: the candidates of an order are the sellers who sold something in its category in the 180 days before the purchase.
The seller who was bought from is a candidate only by the same rule. Every candidate becomes an offer; the one who was
bought from counts as interested, the others as expired after 24 hours. Nobody ever saw such a list: **a purchase is no
answer to a ranking**, and a seller who was not bought from has turned nothing down.

| orders without candidates | orders | share |
|---|--:|--:|
{dropped}

{len(lengths):,} cases remain, with {len(pairs):,} pairs; {lengths.median():.0f} candidates in the median, {lengths.min()} to {lengths.max()}.
The cases that fell out are those of sellers new to a category, so nothing here says how newcomers are ranked."""


def features_section() -> str:
    return f"""### Features, and what they may know

Every feature uses only events strictly before the purchase: sales by their instant, deliveries by theirs, reviews from
the moment they were answered (which is after their creation date: the score does not exist before). An order's own
delivery and review come after its purchase and so are never seen by its own case. The tests compute a sample of pairs again
row by row from the files, and check that leaving out later orders changes nothing.

| key | here |
|---|---|
| A | share of the seller's earlier sales that were in the category |
| S | missing: orders have no text |
| T | reviewed sales delivered by the promised day with 4 stars or more, smoothed by Beta(1, 1) |
| G | 1 − distance / {RADIUS_KM:,.0f} km |
| Q | mean of ln(1 + delivered orders) / ln(201) and days since the first sale / 365, each at most 1 |
| U | 1 − mean time from payment approval to the carrier / 7 days |
| R | mean stars, drawn to the middle with fewer than five reviews |
| C | missing: comments are not analysed |
| momentum | acceptances and contracts per offer by half-lives of 7, 30 and 90 days, days since the last one, share of the seller's contracts in the category: the pipelines' own code on these rows, as of the newest night (02:30) before the purchase |
| price level | missing: no fee models |
| repeat_client, tenure | bought from the seller before; time since the first sale |
| ranks | of momentum and tenure among the case's candidates |

`raw_score` is the heuristic score of these features; it knows nothing of who was bought from. `tags_expertise` knows the
whole period, as a static column must; the nightly equity uses it to say who was eligible, no feature does."""


def equity_section(replay: Replay) -> str:
    from litgo_pipelines.equity.distribution import gini

    nights, sales = replay.nights, replay.olist.sales
    shown = nights.iloc[sorted({*range(0, len(nights), 10), len(nights) - 1})]
    rows = "\n".join(
        f"| {n.night} | {n.lawyers:,} | {n.cases:,} | {n.offers:,} | {n.gini:.3f} | {n.coverage:.1%} | {n.coverage_bound:.1%} |"
        for n in shown.itertuples()
    )
    last = nights.iloc[-1]
    newest_sale = sales.groupby("seller")["order"].max().map(replay.olist.orders["purchased"])
    here = replay.olist.sellers["first_sale"] < last.as_of
    gone = (newest_sale.reindex(replay.olist.sellers.index)[here] < last.as_of - timedelta(days=180)).mean()
    bought = sales.drop_duplicates(["order", "seller"])["seller"].value_counts().to_numpy(dtype=float)
    return f"""### Nightly equity

The {len(nights)} nights to {last.night}, the last day on which the files are full, computed by the nightly job as one backfill.
Gini lay between {nights.gini.min():.3f} and {nights.gini.max():.3f} (mean {nights.gini.mean():.3f}), coverage between
{nights.coverage.min():.1%} and {nights.coverage.max():.1%}, its bound between {nights.coverage_bound.min():.1%} and {nights.coverage_bound.max():.1%}.

| night | eligible | cases | offers | Gini | coverage | at most |
|---|--:|--:|--:|--:|--:|--:|
{rows}

![Gini and coverage over {len(nights)} nights](olist_equity.png)

- No allocation took place here (*Allocation replayed*, at the end, is another replay). The Gini is that of the reconstructed lists, in which everybody active in a category is offered
  every case of it: it shows how unevenly demand falls on categories, not how fair anybody was. The target (below 0.3) is
  for offers that were allocated, five per case. The purchases themselves have a Gini of {gini(bought):.2f} over sellers.
- Coverage stays below 80 % because nothing in the files says that a seller left: all count as available indefinitely, and
  {gone:.0%} of those who had ever sold by the last night had not sold in the 180 days before it, so that no list could hold them.
- Utilisation is counted in units of five offers per case, while these lists are more than ten times as long. The spread inside pools
  ({nights.spread_points.min():.0f} to {nights.spread_points.max():.0f} points) is therefore no figure to hold against the target.
- Eligible are sellers within 50 km of a customer, as the metric defines it, although parcels travel further; the bound is
  for five offers per case within that radius."""


def ranking_section(replay: Replay) -> str:
    snapshot, evaluation = replay.retraining["snapshot"], replay.retraining["evaluation"]
    decision, candidate = evaluation["decision"], replay.retraining["candidate"]
    cases = np.sort(replay.found.pairs["case"].unique())
    purchased = replay.olist.orders["purchased"].iloc[cases]
    cut = len(cases) - snapshot["holdout_cases"]
    rows = "\n".join(
        f"| {name} | " + " | ".join(_shown(i) for i in bootstrap(values)) + f" | {replay.tied[name]:.0%} |"
        for name, values in replay.rankers.items()
    )
    at_10 = KS.index(10)
    against = "\n".join(
        f"| {a} − {b} | {_shown(paired_difference(replay.rankers[a][:, at_10], replay.rankers[b][:, at_10]), '+.3f')} |"
        for a, b in [(MODEL, POPULARITY), (MODEL, RECENT), (MODEL, "heuristic ranker"), (MODEL, "random")]
    )
    labels = "\n".join(
        f"| {split} | " + " | ".join(f"{n:,}" for n in by.values()) + " |" for split, by in snapshot["labels"].items()
    )
    vetoes = sum(s["veto"] for s in decision["slices"])
    judged = sum(s["difference"] is not None for s in decision["slices"])
    worst = max(evaluation["drift"], key=lambda name: evaluation["drift"][name])
    tried = "\n".join(
        f"| {f'**{name}**' if name == candidate['chosen'] else name} | {t['mean']:.4f} | {t['standard_error']:.4f} | {t['rounds'] or '–'} | {t['seconds']:.0f} s |"
        for name, t in replay.tried.items()
    )
    return f"""### Ranking

One retraining as of {replay.retraining["as_of"]:%Y-%m-%d} through the project's own assets. The newest fifth of the cases is held out:
{cut:,} cases to learn from ({purchased.iloc[0]:%Y-%m-%d} to {purchased.iloc[cut - 1]:%Y-%m-%d}, {replay.list_lengths["train"]:.0f} candidates per case),
{snapshot["holdout_cases"]:,} to judge by ({purchased.iloc[cut]:%Y-%m-%d} to {purchased.iloc[-1]:%Y-%m-%d}, {replay.list_lengths["holdout"]:.0f} candidates per case).
Chosen: **{candidate["chosen"]}**, {candidate["rounds"]} rounds, {len(candidate["seeds"])} seeds; logged and registered in MLflow. The field, by
cross-validation on the cases to learn from alone (the held-out ones chose nothing):

| field | NDCG@10 | standard error | rounds | time |
|---|--:|--:|--:|--:|
{tried}

| label | 0 | 1 interested | 2 signed | 3 closed, ≥ 4 stars |
|---|--:|--:|--:|--:|
{labels}

NDCG on the same held-out cases and rows, with bootstrap 95 % intervals over cases; models are means over their seeds:

| ranker | @1 | @3 | @5 | @10 | ties |
|---|---|---|---|---|--:|
{rows}

![NDCG of the rankers](olist_ndcg.png)

| difference in NDCG@10 | paired, 95 % interval |
|---|---|
{against}

**Gate: {decision["outcome"].replace("_", " ")}**, against the {evaluation["baseline"]}: {"; ".join(decision["reasons"])}.
{judged} slices had cases enough to be judged, {vetoes or "none"} spoke against. The largest drift between the cases learned from and held out is
{evaluation["drift"][worst]:.3f} (PSI of {worst}).

What the table says and does not say:

- Two rules of one line are the ones to beat. *Popularity* is the number of the seller's earlier sales in the category;
  *recent sales* weighs each of them by 2^(−age / 30 days), up to the instant of the purchase. {_lines(replay)}
  The model is given momentum of acceptances and contracts per offer, as of the night before, as matching would be.
- The split is over whole cases by time. Some labels to learn from were settled after the first held-out case came: a review
  can take weeks. No feature knows of anything after its own case.
- The gate holds the candidate against the rules it can compute itself, recent acceptances among them: what does not beat the
  best of them by the interval does not go up. Popularity and recent sales are this replay's own.
- Each case has one bought seller, so NDCG depends only on the place that seller gets (NDCG@1 is the share of cases with that
  seller first), and labels 2 and 3 differ only in what training weighs more.
- Buyers of a shop choose a product, its price and its picture, which no feature knows. Scores far from 1 are expected. A
  score near 1 would mean that a feature knows the answer.
- Ties: {replay.tied[POPULARITY]:.0%} of the held-out cases have another candidate with exactly the bought seller's popularity. Equal
  scores share the gain of their places, so that the order of rows favours nobody.
- Position: `raw_score` orders the reconstructed list, but no list was shown, so there is no exposure to correct for.
  Training with position was tried, as always, and was {"kept" if candidate["uses_position"] else "not kept: it did no better in cross-validation"}.
- The bought seller had to be active in the category already; {replay.found.dropped[NEW_TO_CATEGORY] / len(replay.olist.orders):.0%} of the orders fall out by that rule, for every ranker alike."""


def _lines(replay: Replay) -> str:
    """Whether the model is as far ahead of the one, and no farther behind the other, as it has to be."""
    at_10 = KS.index(10)
    ahead, behind = (
        paired_difference(replay.rankers[MODEL][:, at_10], replay.rankers[name][:, at_10])
        for name in (POPULARITY, RECENT)
    )
    return (
        f"Wanted: at least {AHEAD} ahead of popularity ({ahead.mean:+.3f}: {'met' if ahead.mean >= AHEAD else '**missed**'}) "
        f"and at most {BEHIND} behind recent sales ({behind.mean:+.3f}: {'met' if behind.mean >= -BEHIND else '**missed**'})."
    )


def runtime_section(replay: Replay) -> str:
    from importlib.metadata import version

    rows = "\n".join(f"| {step} | {seconds:,.0f} |" for step, seconds in replay.seconds.items())
    packages = ", ".join(f"{name} {version(name)}" for name in ("dagster", "mlflow", "lightgbm", "pandas"))
    return f"""### Time

{os.cpu_count()} processors; {packages}.

| step | seconds |
|---|--:|
{rows}
| together | {sum(replay.seconds.values()):,.0f} |"""


def _shown(interval: Interval, form: str = ".3f") -> str:
    return f"{interval.mean:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def equity_plot(nights: pd.DataFrame) -> Any:
    from litgo_pipelines.observability.plots import figure

    drawn, axes = figure(f"Reconstructed offers, {len(nights)} nights", "", "")
    axes.plot(nights["night"], nights["coverage_bound"], color="tab:gray", linestyle="--", label="coverage, at most")
    axes.plot(nights["night"], nights["coverage"], color="tab:blue", label="coverage")
    axes.plot(nights["night"], nights["gini"], color="tab:orange", label="Gini of offers per unit of capacity")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    drawn.autofmt_xdate()
    return drawn


def ranker_plot(rankers: dict[str, NDArray[np.float64]]) -> Any:
    from litgo_pipelines.observability.plots import figure

    drawn, axes = figure("NDCG on the held-out cases, 95 % intervals", "", "NDCG")
    width = 0.8 / len(rankers)
    for number, (name, values) in enumerate(rankers.items()):
        intervals = bootstrap(values)
        means = np.array([i.mean for i in intervals])
        reach = [means - [i.low for i in intervals], [i.high for i in intervals] - means]
        axes.bar(
            np.arange(len(KS)) + number * width, means, width * 0.9, yerr=reach, label=name, error_kw={"linewidth": 1}
        )
    axes.set_xticks(np.arange(len(KS)) + 0.4 - width / 2, [f"@{k}" for k in KS])
    axes.legend(frameon=False, fontsize=8)
    return drawn
