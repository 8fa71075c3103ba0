"""Embedding asset: new texts are embedded before the next matching needs them."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.openai import DIMENSIONS, OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, AsOfConfig, Metadata, permanent_fails_once, table_metadata

if TYPE_CHECKING:
    from litgo_pipelines.embeddings.store import Embedded

COLUMNS = ("model", "dimensions", "new", "without words", "refused", "withheld", "texts per second", "stored")
PATIENCE = 5.0  # seconds a case that waits for offers gives OpenAI


class LocalEmbeddings(dg.ConfigurableResource):
    """`model`: all-MiniLM-L6-v2, use-multilingual-v3, or a folder in sentence-transformers' layout."""

    model: str = "all-MiniLM-L6-v2"

    def models(self) -> list[str]:
        """The one of the similarity first, then the configured one."""
        from litgo_pipelines.embeddings.models import USE

        return list(dict.fromkeys([USE, self.model]))


class TextsConfig(AsOfConfig):
    waiting_only: bool = Field(
        default=False, description="only what waiting cases need to be matched: their texts, quickly"
    )


@dg.asset(
    deps=["cases", "profiles", "lawyers", "offers", "contracts"],
    group_name="embeddings",
    owners=[Owner.DATA],
    kinds={"postgres", "python", "onnx", "openai"},
    # no pool: cases that wait for offers must not wait for the night's texts; database locks order the runs
    retry_policy=RETRY,
    description="Vectors of every text of a waiting case and of lawyers' concluded cases and curricula: by the local "
    "models always, then, masked, by OpenAI where configured. A text is embedded once; each batch is committed. The "
    "next run requests what OpenAI missed, and deletes what it made for who does not consent any more.",
    metadata={"dagster/table_name": "litgo.text_embeddings"},
)
@permanent_fails_once
def text_embeddings(
    context: dg.AssetExecutionContext,
    config: TextsConfig,
    postgres: Postgres,
    local_embeddings: LocalEmbeddings,
    openai: OpenAI,
) -> dg.MaterializeResult[None]:
    from tqdm import tqdm

    from litgo_pipelines.embeddings.bert import UnknownModel
    from litgo_pipelines.embeddings.models import USE, load
    from litgo_pipelines.embeddings.remote import embed_remote
    from litgo_pipelines.embeddings.store import KINDS, Embedded, embed_missing, forget_withdrawn

    as_of = config.instant()
    kinds = ["case"] if config.waiting_only else KINDS
    found: list[Embedded] = []

    def run(name: str, embed: "Callable[..., Embedded]") -> None:
        with tqdm(unit=" texts", desc=name, disable=None, delay=5) as bar, postgres.session() as connection:

            def step(texts: int, of: int) -> None:
                bar.total = of
                bar.update(texts)

            found.append(embed(connection, kinds=kinds, progress=step))
        log_json(
            context.log, "text_embeddings", run_id=context.run.run_id, as_of=as_of.isoformat(), **found[-1].as_dict()
        )

    for name in [USE] if config.waiting_only else local_embeddings.models():
        try:
            encoder = load(name)
        except UnknownModel as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        run(encoder.name, lambda connection, encoder=encoder, **how: embed_missing(connection, encoder, as_of, **how))
    with postgres.session() as connection:  # whether or not OpenAI is still asked for anything
        forgotten = forget_withdrawn(connection, list(DIMENSIONS), waiting_only=config.waiting_only)
    if openai.configured:
        _known_model(openai)
        patience = PATIENCE if config.waiting_only else None
        stays = _sensitive(postgres, as_of)
        run(
            openai.embedding_model,
            lambda connection, **how: embed_remote(
                connection, openai, as_of, stays=stays, deadline_seconds=patience, **how
            ),
        )
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT model, count(*) FROM litgo.text_embeddings GROUP BY model")
        stored = dict(cursor.fetchall())
    return dg.MaterializeResult(
        metadata={
            "as_of": as_of.isoformat(),
            **pictures(found, stored),
            "consent withdrawn, vectors deleted": forgotten,
        }
    )


def _known_model(openai: OpenAI) -> None:
    try:
        _ = openai.dimension
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _sensitive(postgres: Postgres, as_of: datetime) -> Callable[[str], bool]:
    """Whether a text may be of a matter that must stay here, by its words and the classifier of the day."""
    from litgo_pipelines.intake import sensitive
    from litgo_pipelines.intake.batch import local_model

    with postgres.session() as connection:
        _, model = local_model(connection, settings().triage_models, as_of)
    return lambda text: sensitive.may_be(text, model.probabilities(text))


def pictures(found: "list[Embedded]", stored: dict[str, int]) -> Metadata:
    """What a run came to, by model; `stored`: model → vectors there are."""
    rows = [
        (
            f.model,
            f.dimension,
            f.texts,
            f.without_words,
            f.refused,
            f.withheld,
            f.as_dict()["texts_per_second"],
            stored.get(f.model, 0),
        )
        for f in found
    ]
    metadata: Metadata = {
        "texts": sum(f.texts for f in found),
        "seconds": round(sum(f.seconds for f in found), 3),
        "models": table_metadata(COLUMNS, rows),
    }
    for stopped in (f.stopped for f in found if f.stopped):
        metadata["OpenAI was not asked for the rest"] = stopped
    return metadata


assets = [text_embeddings]
