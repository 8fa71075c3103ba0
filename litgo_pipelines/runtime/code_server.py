"""Code server whose runs start warm: each is forked from a process that has already imported what runs need.

    python -m litgo_pipelines.runtime.code_server [arguments of `dagster api grpc`]

Dagster's own code server starts a fresh interpreter for each run, which pays seconds of imports before its first step.
The rest is Dagster's: events, logs, termination, and a process for each run, which takes nothing else with it when it
crashes. The warm process is forked from, never worked in. It ends with its server: a new version of the code or a
changed environment is a new server.
"""

import multiprocessing
from multiprocessing import forkserver

PRELOADED = "litgo_pipelines.runtime.preload"


def main() -> None:
    from litgo_pipelines.dagster_internals import serve_code

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    forkserver.ensure_running()  # it imports while the server does; killed, it is started again with the next run
    serve_code(context)


if __name__ == "__main__":
    main()
