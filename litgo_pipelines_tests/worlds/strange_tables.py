"""A day on a marketplace of another make, and what its contract says."""

from litgo_pipelines.equity.capacity import DEFAULT_RULES
from litgo_pipelines.equity.load import run_night
from litgo_pipelines.marketplace.checks import contract_results
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.dirt import AS_OF
from litgo_pipelines_tests.worlds.matching import match
from litgo_pipelines_tests.worlds.sessions import kept


def day(url: str) -> list[int]:
    """Lawyers of a night, and cases matched after it."""
    with kept(url) as connection, connection:
        night = run_night(connection, AS_OF.date(), AS_OF, DEFAULT_RULES)
    return [night.rows_read, *(result.matched for result in match(url, Plan(exploration=0), AS_OF))]


def contract(url: str) -> dict[str, str]:
    """Table → what is wrong with it."""
    return {
        str(result.asset_key and result.asset_key.to_user_string()): str(result.description)
        for result in contract_results(Postgres(url=url))
        if not result.passed
    }
