"""Dagster's webserver behind our own doors.

    python -m litgo_pipelines.runtime.webserver [arguments of `dagster-webserver`]

Dagster's own executes mutations sent by GET, under any Host and from any site's page, and knows nobody by name.
`ui/doors.py` refuses those before Dagster sees them; the schema refuses them once more, whatever way a document came.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from dagster import AssetKey
from dagster_webserver import cli
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema
from graphql import GraphQLError, GraphQLFieldResolver, GraphQLResolveInfo
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from litgo_pipelines.dagster_internals import WorkspaceProcessContext, WorkspaceRequestContext, as_viewer, mark_launched
from litgo_pipelines.jobs import limits_of
from litgo_pipelines.runtime.ui.doors import ACTOR, IDENTITY, Access, Doors
from litgo_pipelines.runtime.ui.office import Office
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import ACTOR_TAG

HARMLESS = frozenset({"logTelemetry", "setNuxSeen"})  # what the pages send by themselves
LOOPBACK = ("127.0.0.1", "::1", "localhost")

log = logging.getLogger("dagster-webserver")  # which `dagster-webserver` sets up


class GuardedWebserver(DagsterWebserver):
    """Viewers get Dagster's own read-only mode; each mutation is by POST, by an operator, and named in the log."""

    def _make_request_context(self, conn: HTTPConnection) -> WorkspaceRequestContext:
        context = super()._make_request_context(conn)
        who = conn.scope.get(IDENTITY)
        return context if who and who.operator else as_viewer(context)

    def build_graphql_schema(self) -> Schema:
        schema = super().build_graphql_schema()
        for name, field in schema.graphql_schema.mutation_type.fields.items():
            field.resolve = _guarded(name, field.resolve)
        return schema


def _guarded(name: str, resolve: GraphQLFieldResolver) -> GraphQLFieldResolver:
    def mutate(root: object, info: GraphQLResolveInfo, **arguments: object) -> object:
        scope = info.context.source.scope
        who = scope.get(IDENTITY)
        if scope.get("method") != "POST":
            raise GraphQLError("mutations only by POST")
        if who is None or not (who.operator or name in HARMLESS):
            raise GraphQLError("this account may look and not change")
        if name not in HARMLESS:
            log.info("%s: %s", who.name, name)
        return resolve(root, info, **arguments)

    return mutate


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        log.info("the webserver was stopped")


def _marks() -> dict[str, str]:
    who = ACTOR.get()
    return {ACTOR_TAG: who} if who else {}


def _limits(workspace: WorkspaceProcessContext, keys: Iterable[AssetKey], partitions: int) -> dict[str, str]:
    """Tags of the jobs that make these assets: what a person materialises is retried and ended like their runs."""
    graph = workspace.create_request_context().asset_graph
    assets = {key.to_user_string(): graph.get(key).group_name for key in keys if graph.has(key)}
    return limits_of(assets, partitions)


def application(workspace: WorkspaceProcessContext, access: Access, prefix: str = "", poll: int | None = None) -> Doors:
    """Dagster's application behind the doors; what it launches carries who asked in a tag."""
    mark_launched(workspace.instance, _marks, partial(_limits, workspace))
    webserver = GuardedWebserver(workspace, prefix, poll)
    office = Office(settings().litgo_database_url)
    return Doors(webserver.create_asgi_app(lifespan=_lifespan), access, office, prefix)


def serve(
    workspace: WorkspaceProcessContext,
    host: str | None,
    port: int | None,
    path_prefix: str,
    log_level: str,
    live_data_poll_rate: int | None = None,
) -> None:
    """In place of the function with which `dagster-webserver` starts to listen."""
    access, at = Access.read(settings()), host or "127.0.0.1"
    if access.open and at not in LOOPBACK:
        log.warning("no login: whoever reaches %s may do everything (LITGO_UI_USERS, docs/security.md)", at)
    app = application(workspace, access, path_prefix, live_data_poll_rate)
    # Whose word on addresses is taken, Access decides: uvicorn would believe any header from loopback.
    uvicorn.run(
        app,
        host=at,
        port=port or settings().dagster_port,
        log_level=log_level,
        proxy_headers=False,
        server_header=False,
    )


def main(start: Callable[..., None] = serve) -> None:
    cli.host_dagster_ui_with_workspace_process_context = start
    cli.cli(auto_envvar_prefix="DAGSTER_WEBSERVER", prog_name="dagster-webserver")


if __name__ == "__main__":
    main()
