"""Pages as a person sees them: headless Chromium, asked over its debugging port.

with Browser("chromium") as browser:
    browser.open("http://127.0.0.1:3000/jobs", "nightly_equity")    # until the page shows it
    browser.picture(Path("jobs.png"))
"""

import base64
import json
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from websockets.sync.client import connect

SHOWN = "document.body ? document.body.innerText : ''"


class NotShown(AssertionError):
    """A page that does not show what it is there for; the message says what it shows."""


class Browser:
    """One window. `login`: name and password that pages are asked with."""

    def __init__(self, program: str, login: tuple[str, str] | None = None) -> None:
        self.program = program
        self.login = login
        self.asked = 0
        self.ends = ExitStack()

    def __enter__(self) -> "Browser":
        try:
            self.start()
        except BaseException:
            self.ends.close()
            raise
        return self

    def start(self) -> None:
        folder = self.ends.enter_context(tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True))
        command = [self.program, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
        command += ["--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.ends.callback(process.wait)
        self.ends.callback(process.terminate)
        told = Path(folder) / "DevToolsActivePort"
        self.wait(lambda: told.exists() and told.read_text().strip(), 60, "Chromium to start")
        port = told.read_text().split()[0]
        windows = requests.get(f"http://127.0.0.1:{port}/json/list", timeout=60).json()
        page = next(one for one in windows if one["type"] == "page" and not one["url"].startswith("chrome"))
        # what the browser reports while nobody asks piles up: no limit, and no ping that would go unanswered behind it
        self.socket = self.ends.enter_context(
            connect(page["webSocketDebuggerUrl"], max_size=None, max_queue=None, ping_interval=None)
        )
        self.size(1500, 950)
        if self.login:
            token = base64.b64encode(":".join(self.login).encode()).decode()
            self.ask("Network.enable")
            self.ask("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {token}"})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ends.close()

    def ask(self, method: str, **parameters: object) -> Any:
        self.asked += 1
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=60))).get("id") != self.asked:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, condition: Any, seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise NotShown(f"waited {seconds:.0f} s for {what}")
            time.sleep(0.3)

    def open(self, url: str, shows: str, seconds: float = 300) -> None:
        """Raises NotShown."""
        self.ask("Page.navigate", url=url)
        self.until(shows, seconds)

    def until(self, shows: str, seconds: float = 300) -> None:
        try:
            self.wait(lambda: shows in (self.evaluate(SHOWN) or ""), seconds, f"{shows!r}")
        except NotShown as error:
            raise NotShown(f"{error} at {self.evaluate('location.href')}, which shows: {self.text()[:500]!r}") from None

    def text(self) -> str:
        return str(self.evaluate(SHOWN) or "")

    def click(self, text: str, row: str = "") -> None:
        """The smallest thing that says `text`, in the row of a table that says `row`."""
        script = (
            f"(() => {{ const place = {json.dumps(row)} ? [...document.querySelectorAll('tr')]"
            f".find(r => r.innerText.includes({json.dumps(row)})) : document; if (!place) return false;"
            f"const found = [...place.querySelectorAll('*')].filter(e => e.innerText && e.innerText.includes("
            f"{json.dumps(text)})); if (!found.length) return false; found[found.length - 1].click(); return true }})()"
        )
        self.wait(lambda: self.evaluate(script), 120, f"{text!r} to click on")

    def size(self, width: int, height: int) -> None:
        """Of the window, for the pages that are opened then."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path) -> None:
        """Once the page has come to rest: it looks the same twice, two seconds apart; after a minute as it is."""
        end, before = time.monotonic() + 60, ""
        while (taken := self._seen()) != before and time.monotonic() < end:
            before = taken
            time.sleep(2)
        path.write_bytes(base64.b64decode(taken))

    def _seen(self) -> str:
        return str(self.ask("Page.captureScreenshot", format="png")["data"])
