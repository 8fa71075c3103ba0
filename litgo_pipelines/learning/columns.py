"""Columns of the training snapshot as Dagster shows them: types, meanings, and where each comes from."""

import dagster as dg

from litgo_pipelines.models.features import CONTRACT
from litgo_pipelines.models.training_data import file_schema
from litgo_pipelines.steps import Columns

_MEANINGS = {
    "label": "0 no positive response, 1 interested, 2 contract signed, 3 closed well",
    "position": "rank at which the lawyer was shown, from 1",
    "split": "train, or holdout for the newest cases",
    "features_logged_at": "when matching logged the features, before the offer",
    "label_at": "the event that gave the label",
    "uf": "state nearest to the case's place",
    "new_lawyer": "joined within 60 days before the offer",
    **{feature.key: f"{feature.name}: {feature.meaning}" for feature in CONTRACT},
}
_ANSWER = ("offers.status", "offers.responded_at", "offers.expires_at", "offers.sent_at")
_CONTRACT = ("contracts.status", "contracts.signed_client", "contracts.signed_lawyer")
_REVIEW = ("reviews.rating", "reviews.outcome", "reviews.created_at")
SOURCES: Columns = {
    "case_id": ("offers.case_id",),
    "lawyer_id": ("offers.lawyer_id",),
    **{feature.key: ("case_matches.features",) for feature in CONTRACT},
    "label": (*_ANSWER, *_CONTRACT, *_REVIEW),
    "position": ("offers.raw_score", "case_matches.raw_score"),
    "split": ("cases.created_at",),
    "case_created_at": ("cases.created_at",),
    "offered_at": ("offers.sent_at",),
    "features_logged_at": ("case_matches.created_at",),
    "label_at": (*_ANSWER, *_CONTRACT, *_REVIEW),
    "area": ("cases.area",),
    "uf": ("cases.coords",),
    "new_lawyer": ("lawyers.created_at", "offers.sent_at"),
}


def snapshot_schema() -> dg.TableSchema:
    """The file's columns."""
    return dg.TableSchema(
        [dg.TableColumn(field.name, str(field.type), description=_MEANINGS.get(field.name)) for field in file_schema()]
    )
