"""The embeddings as an asset: what is new is embedded, for whoever matches next."""

from typing import Any

import dagster as dg

from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.steps import RETRY, AsOfConfig


class LocalEmbeddings(dg.ConfigurableResource):
    """`model`: all-MiniLM-L6-v2, use-multilingual-v3, or a folder in sentence-transformers' layout."""

    model: str = "all-MiniLM-L6-v2"

    def models(self) -> list[str]:
        """The one of the similarity first, then the configured one."""
        from litgo_pipelines.embeddings.models import USE

        return list(dict.fromkeys([USE, self.model]))


@dg.asset(
    deps=["cases", "lawyers", "contracts"],
    group_name="embeddings",
    owners=[Owner.DATA],
    kinds={"postgres", "python", "onnx"},
    pool="embeddings",
    retry_policy=RETRY,
    description="A vector of every text of a waiting case, of a lawyer's concluded cases and curriculum, by the local "
    "models. A text is embedded once; each batch is committed. No text leaves the machine.",
    metadata={"dagster/table_name": "litgo.text_embeddings"},
)
def text_embeddings(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, local_embeddings: LocalEmbeddings
) -> dg.MaterializeResult:
    from tqdm import tqdm

    from litgo_pipelines.embeddings.bert import UnknownModel
    from litgo_pipelines.embeddings.models import load
    from litgo_pipelines.embeddings.store import embed_missing

    as_of = config.instant()
    found: list[dict[str, Any]] = []
    for name in local_embeddings.models():
        try:
            encoder = load(name)
        except UnknownModel as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        with tqdm(unit=" texts", desc=encoder.name, disable=None, delay=5) as bar, postgres.session() as connection:

            def step(texts: int, of: int, bar: Any = bar) -> None:
                bar.total = of
                bar.update(texts)

            found.append(embed_missing(connection, encoder, as_of, progress=step).as_dict())
        log_json(context.log, "text_embeddings", run_id=context.run.run_id, as_of=as_of.isoformat(), **found[-1])
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT model, count(*) FROM litgo.text_embeddings GROUP BY model")
        stored = dict(cursor.fetchall())
    head = ["| model | dimensions | new | without words | texts/s | stored |", "|---|--:|--:|--:|--:|--:|"]
    rows = [
        f"| {f['model']} | {f['dimension']} | {f['texts']:,} | {f['without_words']:,} | {f['texts_per_second']} | "
        f"{stored.get(f['model'], 0):,} |"
        for f in found
    ]
    return dg.MaterializeResult(
        metadata={
            "as_of": as_of.isoformat(),
            "texts": sum(f["texts"] for f in found),
            "seconds": round(sum(f["seconds"] for f in found), 3),
            "models": dg.MetadataValue.md("\n".join([*head, *rows])),
        }
    )


assets = [text_embeddings]
