"""Checks on embeddings: similarity still finds what a layperson means, and how many OpenAI vectors are missing."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.embeddings.assets import text_embeddings
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres

LEAST_PRECISION = 0.45  # .52 when it was chosen (docs/similarity.md); random is .1


@dg.asset_check(
    asset=text_embeddings,
    description="Share of 160 fixed questions, in a layperson's words, whose nearest text is of their area of law.",
)
def similarity_finds_the_area() -> dg.AssetCheckResult:
    from litgo_pipelines.embeddings.models import USE, as_texts, load
    from litgo_pipelines.embeddings.quality import lay_precision

    encoder = load(USE)
    figure = lay_precision(lambda texts: as_texts(encoder, texts))
    return dg.AssetCheckResult(
        passed=figure >= LEAST_PRECISION,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{figure:.0%} of the questions, at least {LEAST_PRECISION:.0%} are expected",
        metadata={"precision": figure, "model": encoder.name},
    )


@dg.asset_check(
    asset=text_embeddings,
    description="Where OpenAI is configured, every text has its vector, or is known to be refused.",
)
def openai_has_every_text(postgres: Postgres, openai: OpenAI) -> dg.AssetCheckResult:
    from litgo_pipelines.embeddings.store import count_missing

    if not openai.configured:
        return dg.AssetCheckResult(passed=True, description="OpenAI is not configured: the local space serves")
    with postgres.connect() as connection, connection.cursor() as cursor:
        missing = count_missing(cursor, openai.embedding_model, openai.dimension, datetime.now(UTC))
        cursor.execute("SELECT count(*) FROM litgo.unembeddable_texts WHERE model = %s", (openai.embedding_model,))
        (refused,) = cursor.fetchone()
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{missing:,} texts wait for OpenAI, {refused:,} it refuses; whoever has them is compared locally",
        metadata={"missing": missing, "refused": refused},
    )


@dg.asset_check(
    asset=text_embeddings,
    description="How much personal data in invented texts is masked, and how much harmless text: docs/privacy.md.",
)
def personal_data_is_masked() -> dg.AssetCheckResult:
    from litgo_pipelines.intake.masking.measure import GROUPS, HALVES, markdown, measured, texts

    figures = {half: measured(texts(half)) for half in HALVES}
    misses = [f"{half}: {miss}" for half, found in figures.items() for miss in found.misses()]
    unseen = figures["held_out"]
    return dg.AssetCheckResult(
        passed=not misses,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(misses) or "every kind is found as often as it should be, harmless text stays",
        metadata={
            **{f"{group} found": unseen.recall(group) for group in GROUPS},
            "harmless changed": unseen.changed,
            "by kind": dg.MetadataValue.md(markdown(figures)),
        },
    )


checks = [similarity_finds_the_area, openai_has_every_text, personal_data_is_masked]
