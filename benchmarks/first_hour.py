"""A stranger's first hour, played: wheel, demo, everything up, pages, a case, a retraining, a second demo, and stop.

    python -m benchmarks.first_hour [--lawyers 300] [--cases 3000] [--days 90] [--pictures FOLDER]

In an empty folder and an empty environment, on a wheel of the package. Stops at the first thing that is not as a
stranger expects it: an exit code, a page without what it is there for, a traceback, a process that is left. Pages are
looked at by Chromium where there is one, else as they are sent. Prints what each step took.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from benchmarks.browser import Browser
from benchmarks.wheel import built, installed
from litgo_pipelines.database import connect

PORTS = ("DAGSTER_PORT", "MLFLOW_PORT", "EXPORTER_PORT")
UNREADABLE = re.compile(r"Traceback|^\w*(Error|Exception)\b|Warning:")  # to who is no programmer
RETRAINING = """mutation { launchRun(executionParams: {selector: {repositoryLocationName: "litgo_pipelines",
    repositoryName: "__repository__", pipelineName: "retraining"}, runConfigData: {}, mode: "default"})
    { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
OF_A_JOB = """{ pipelineOrError(params: {repositoryLocationName: "litgo_pipelines", repositoryName: "__repository__",
    pipelineName: "%s"})
    { ... on Pipeline { runs(limit: 9) { status repositoryOrigin { repositoryLocationName } } } } }"""
# closes what MLflow opens beside its pages: the button that is furthest to the right at the top
ASSISTANT = """document.body.innerText.includes("MLflow Assistant") && [...document.querySelectorAll("button")]
    .map(one => [one.getBoundingClientRect(), one]).filter(([place]) => place.top < 60 && place.width)
    .sort(([a], [b]) => a.right - b.right).pop()[1].click()"""
A_CASE = """INSERT INTO public.cases (client_id, title, description, area, subarea, coords, urgency_h, complexity)
    SELECT client_id, 'Aluguel', 'O inquilino deixou de pagar o aluguel há três meses', area, subarea, coords, 48, 'LOW'
    FROM public.cases ORDER BY id LIMIT 1 RETURNING id::text"""


class Unexpected(AssertionError):
    """What a stranger would have stumbled over."""


def expect(holds: object, what: str) -> None:
    if not holds:
        raise Unexpected(what)


@dataclass
class Stranger:
    """Who types commands in an empty folder, with nothing but HOME, PATH and ports in the environment."""

    folder: Path
    python: Path
    ports: dict[str, str]
    took: dict[str, float] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)  # on stderr
    pictures: Path = Path()  # where they go

    @property
    def home(self) -> Path:
        return self.folder / "empty" / ".litgo"

    @property
    def admin(self) -> tuple[str, str]:
        """Who MLflow's administrator is, and the password."""
        return "admin", (self.home / "mlflow-admin-password").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.python.parent}:{os.defpath}"
        return {"HOME": str(self.folder), "PATH": path, "LANG": "C.UTF-8", "GATE_MIN_QUERIES": "50", **self.ports}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.took[name] = time.monotonic() - began
        print(f"{name:<44}{self.took[name]:7.1f} s", flush=True)

    def types(self, *words: str, code: int = 0) -> str:
        """What `litgo …` prints; `code` is how it has to end."""
        done = subprocess.run(
            ["litgo", *words], cwd=self.home.parent, env=self.environment, capture_output=True, text=True, timeout=2400
        )
        self.hears(done.stderr)
        expect(done.returncode == code, f"litgo {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout if code == 0 else done.stderr

    def hears(self, text: str) -> None:
        lines = [line for part in text.split("\n") if (line := part.split("\r")[-1].strip())]
        self.heard += lines
        strange = [line for line in lines if UNREADABLE.search(line)]
        expect(not strange, f"on stderr: {strange[:5]}")

    def asks(self, query: str) -> Any:
        url = f"http://127.0.0.1:{self.ports['DAGSTER_PORT']}/graphql"
        return requests.post(url, json={"query": query}, timeout=60).json()["data"]

    def database(self, query: str) -> list[tuple[Any, ...]]:
        url = f"postgresql://postgres@/litgo?host={self.home}/postgres"
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def processes(self) -> dict[int, str]:
        """What runs for this folder."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"LITGO_HOME={self.home}\0".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"waited {seconds:.0f} s for {what}")
        time.sleep(0.5)


@contextmanager
def everything_up(stranger: Stranger) -> Iterator[None]:
    """`litgo up`, ended as by Ctrl-C; then nothing is left."""
    with (
        (stranger.folder / "up.out").open("w+") as out,
        (stranger.folder / "up.err").open("w+") as err,
        subprocess.Popen(
            ["litgo", "up"], cwd=stranger.home.parent, env=stranger.environment, stdout=out, stderr=err
        ) as process,
    ):
        try:
            with stranger.step("litgo up, until it says so"):
                until(lambda: "Ctrl-C" in Path(out.name).read_text() or process.poll() is not None, 900, "`litgo up`")
                expect(process.poll() is None, f"`litgo up` ended with {process.poll()}: {Path(err.name).read_text()}")
            yield
        finally:
            with stranger.step("Ctrl-C"):
                process.send_signal(signal.SIGINT)
                expect(process.wait(180) == 0, "`litgo up` did not end by itself with 0")
        stranger.hears(Path(err.name).read_text())
    until(lambda: not stranger.processes(), 20, f"every process to end: {stranger.processes()}")
    expect(not (stranger.home / "postgres" / "postmaster.pid").exists(), "Postgres left its pid file")


def look_at_pages(stranger: Stranger, browser: Browser | None) -> None:
    dagster, mlflow, exporter = (f"http://127.0.0.1:{stranger.ports[name]}" for name in PORTS)
    models = f"{mlflow}/api/2.0/mlflow/registered-models/search"
    expect(requests.get(models, timeout=60).status_code == 401, "MLflow asks nobody who it is")
    expect("litgo-ranker" in requests.get(models, auth=stranger.admin, timeout=60).text, "MLflow shows no model")
    metrics = requests.get(f"{exporter}/metrics", timeout=60).text
    expect("# TYPE litgo_" in metrics, "/metrics shows nothing")
    location = f"{dagster}/locations/litgo_pipelines"
    shown = {  # page → what it is there for
        f"{dagster}/asset-groups": "marketplace",
        f"{location}/asset-groups/equity": "offer_distribution",
        f"{dagster}/jobs": "nightly_equity",
        f"{dagster}/automation": "missed_nights_sensor",
        f"{location}/jobs/retraining/runs": "Success",
        f"{dagster}/assets/offer_distribution": "coverage_bound",
        f"{dagster}/escritorio": "Casos",
    }
    for url, what in shown.items():
        if browser is None:
            requests.get(url, timeout=60).raise_for_status()
        else:
            browser.open(url, what)
            browser.picture(stranger.pictures / f"{url.removeprefix(dagster).strip('/').replace('/', '_')}.png")
    for job in ("nightly_equity", "retraining", "evidence", "embeddings", "matching"):
        runs = stranger.asks(OF_A_JOB % job)["pipelineOrError"]["runs"]
        good = [one for one in runs if one["status"] == "SUCCESS" and one["repositoryOrigin"]]
        expect(good, f"the page of {job} lists none of the demo's runs")


def take_pictures(stranger: Stranger, browser: Browser) -> None:
    """Those of the documentation."""
    dagster, mlflow, _ = (f"http://127.0.0.1:{stranger.ports[name]}" for name in PORTS)
    browser.open(f"{dagster}/asset-groups", "marketplace")
    browser.picture(stranger.pictures / "dagster_assets.png")
    browser.size(1900, 1150)
    for asset, entry, name in (
        ("offer_distribution", "Gini, last 30 nights", "dagster_offer_distribution"),
        ("case_offers", "the newest case explained", "dagster_case_explained"),
    ):
        browser.open(f"{dagster}/assets/{asset}", entry)
        browser.click("Markdown", row=entry)
        browser.until("Close")
        browser.picture(stranger.pictures / f"{name}.png")
    found = requests.post(
        f"{mlflow}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": ["1"], "filter": "tags.gate LIKE '%'", "max_results": 1},
        auth=stranger.admin,
        timeout=60,
    ).json()
    run = found["runs"][0]["info"]
    browser.size(1500, 950)
    browser.open(f"{mlflow}/#/experiments/{run['experiment_id']}/runs/{run['run_id']}", "About this run")
    browser.evaluate(ASSISTANT)
    browser.picture(stranger.pictures / "mlflow_run.png")


def launch_retraining(stranger: Stranger, browser: Browser | None) -> str:
    """The id of a run with what the launchpad proposes."""
    if browser is None:
        started = stranger.asks(RETRAINING)["launchRun"]
        expect("run" in started, f"not launched: {started}")
        return str(started["run"]["runId"])
    url = f"http://127.0.0.1:{stranger.ports['DAGSTER_PORT']}"
    browser.open(f"{url}/locations/litgo_pipelines/jobs/retraining/playground", "Launch Run")
    # until then the button takes no click
    browser.wait(lambda: "No errors" in browser.text() and "Checking config" not in browser.text(), 300, "the config")
    browser.picture(stranger.pictures / "launchpad.png")
    browser.click("Launch Run")
    browser.wait(lambda: "/runs/" in browser.evaluate("location.href"), 300, "the page of the run")
    return str(browser.evaluate("location.pathname")).rsplit("/", 1)[-1]


def play(stranger: Stranger, sizes: list[str], chromium: str | None) -> None:
    """The whole hour. Raises Unexpected and NotShown."""
    with stranger.step("litgo --version"):
        expect(re.match(r"litgo \d", stranger.types("--version")), "no version")
    with stranger.step("litgo demo"):
        said = stranger.types("demo", *sizes)
    example = re.search(r"litgo explain (\S+)", said)
    expect(example, f"the demo names no example:\n{said}")
    assert example is not None
    with stranger.step("litgo explain, the demo's example"):
        text = stranger.types("explain", example[1])
        expect("offered at load" in text and "success rate" in text, f"the example shows no trade:\n{text}")
    with everything_up(stranger), ExitStack() as opened:
        browser = opened.enter_context(Browser(chromium, login=stranger.admin)) if chromium else None
        with stranger.step(f"pages, {'in Chromium' if browser else 'over HTTP'}"):
            look_at_pages(stranger, browser)
        with stranger.step("a case in, its offers out"):
            ((case,),) = stranger.database(A_CASE)
            offers = f"SELECT count(*) FROM public.offers WHERE case_id = '{case}'"
            until(lambda: stranger.database(offers)[0][0], 900, "offers of a new case")
        with stranger.step("litgo explain, of that case"):
            expect(case in stranger.types("explain", case), "the new case is not explained")
        with stranger.step("retraining, as the launchpad starts it"):
            run = launch_retraining(stranger, browser)
            status = f'{{ runOrError(runId: "{run}") {{ ... on Run {{ status }} }} }}'
            ends = ("SUCCESS", "FAILURE", "CANCELED")
            until(lambda: stranger.asks(status)["runOrError"]["status"] in ends, 1800, "the retraining")
            expect(stranger.asks(status)["runOrError"]["status"] == "SUCCESS", "the retraining failed")
        if browser:
            with stranger.step("pictures for the documentation"):
                take_pictures(stranger, browser)
        with stranger.step("listings as JSON"):
            for words in (["model", "show"], ["casos", "parados"], ["contrato", "tarefas"], ["dead-letters"]):
                json.loads(stranger.types(*words, "--json"))
    with stranger.step("a demo over the added case: refused in words"):
        expect("litgo reset --added" in stranger.types("demo", *sizes, code=1), "no way out is named")
    with stranger.step("litgo reset"):
        stranger.types("reset", "--added", "--yes")
    with stranger.step("a second demo"):
        stranger.types("demo", *sizes)
    until(lambda: not stranger.processes(), 20, f"every process to end: {stranger.processes()}")


def free_ports() -> Mapping[str, str]:
    probes = [socket.socket() for _ in PORTS]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = {name: str(probe.getsockname()[1]) for name, probe in zip(PORTS, probes, strict=True)}
    for probe in probes:
        probe.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("lawyers", 300), ("cases", 3000), ("days", 90)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the pages; else they are not kept")
    given = vars(parser.parse_args())
    kept = given.pop("pictures")
    sizes = [word for name, number in given.items() for word in (f"--{name}", str(number))]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory(prefix="litgo-hour-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the embedded server has a user of its own
        (folder / "empty").mkdir()
        stranger = Stranger(folder, folder / "venv" / "bin" / "python", dict(free_ports()))
        stranger.pictures = kept or folder / "pictures"
        stranger.pictures.mkdir(parents=True, exist_ok=True)
        with stranger.step("wheel built and installed"):
            installed(built(folder), folder / "venv")
        os.environ["PATH"] = f"{stranger.python.parent}:{os.environ['PATH']}"  # where the command is found
        play(stranger, sizes, chromium)
        print(f"{'all':<44}{sum(stranger.took.values()):7.1f} s")
        print("\nheard on stderr, once each:", *dict.fromkeys(stranger.heard), sep="\n  ")


if __name__ == "__main__":
    main()
