"""JupyterLab in a real Chromium: a server on a copy of the notebooks, and one page for each notebook.

A page refuses and remembers every request that leaves the machine, and remembers what the console called an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Route

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
INSTALL = "Chromium is missing. Debian, Ubuntu: sudo apt install chromium; macOS: brew install --cask chromium"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_PROGRAMS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# The resolver rule is the second lock: also what a page's own rules do not see has no address to go to.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SERVER_START_S, KERNEL_START_S, RUN_ALL_S = 90, 90, 180


class NotebookError(AssertionError):
    """A notebook did not do in the browser what it should."""


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome."""
    found = [path for name in PROGRAMS if (path := shutil.which(name))]
    found += [path for path in MAC_PROGRAMS if pathlib.Path(path).exists()]
    return found[0] if found else None


@dataclass(frozen=True)
class Server:
    """A running JupyterLab."""

    url: str
    token: str
    folder: pathlib.Path


@contextlib.contextmanager
def jupyterlab(work: pathlib.Path, notebooks: pathlib.Path):
    """JupyterLab on a copy of the notebooks, with settings, kernels and runtime files of its own."""
    folder = work / "notebooks"
    shutil.copytree(notebooks, folder, ignore=shutil.ignore_patterns("source", "__pycache__", ".ipynb_checkpoints"))
    token, port = secrets.token_hex(16), free_port()
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--allow-root"]
    options += [f"--IdentityProvider.token={token}", "--expose-app-in-browser", f"--ServerApp.root_dir={folder}"]
    options += ["--ServerApp.shutdown_no_activity_timeout=1200"]
    with (work / "jupyterlab.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=folder,
            env=os.environ | own_places(work),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", token, folder)
            wait_until_up(server, process, work / "jupyterlab.log")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def own_places(work: pathlib.Path) -> dict[str, str]:
    """Environment for a JupyterLab that neither reads nor writes the user's own files.

    No news pop-up, no automatic saving, and every cell in the page at once, also those out of sight.
    """
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    places = {name: work / name.lower() for name in (*names, "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    page = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    settings = {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "docmanager-extension/plugin": {"autosave": False},
    }
    write_json(places["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json", page)
    for name, value in settings.items():
        write_json(places["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / f"{name}.jupyterlab-settings", value)
    return {name: str(place) for name, place in places.items()} | {"JUPYTER_PREFER_ENV_PATH": "1"}


def write_json(path: pathlib.Path, value: object) -> None:
    """A JSON file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(server: Server, process: subprocess.Popen, log: pathlib.Path) -> None:
    """Wait for the server's own status, or say why it ended."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), direct.open(f"{server.url}/api/status?token={server.token}", timeout=2):
            return
        time.sleep(0.2)
    raise NotebookError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


# `evaluate` has no timeout of its own, so each promise races against a clock.
KERNEL_READY = """async (ms) => {
  const widget = window.jupyterapp.shell.currentWidget;
  const soon = (promise, what) => Promise.race([promise, new Promise((_, reject) =>
    setTimeout(() => reject(new Error(what + ' not ready after ' + ms + ' ms')), ms))]);
  await soon(widget.context.ready, 'notebook');
  await soon(widget.revealed, 'view');
  await soon(widget.sessionContext.ready, 'session');
  await soon(widget.sessionContext.session.kernel.info, 'kernel');
  // What a widget's call-back raises reaches no cell; it only passes by here.
  window.labErrors = [];
  widget.sessionContext.iopubMessage.connect((_, message) => {
    const {content, header} = message;
    if (header.msg_type === 'error')
      window.labErrors.push([...content.traceback, content.ename + ': ' + content.evalue]);
    if (header.msg_type === 'stream' && /Traceback \\(most recent call last\\)/.test(content.text))
      window.labErrors.push([content.text]);
  });
}"""
# Counts and outputs come from the model: the page may not hold every cell.
CELLS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells].filter(c => c.type === 'code')
  .map(c => ({source: c.sharedModel.getSource(), count: c.executionCount, outputs: c.outputs.toJSON()}))"""
SETTLED = """() => {
  const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells]
    .filter(c => c.type === 'code' && c.sharedModel.getSource().trim());
  const failed = cells.some(c => c.outputs.toJSON().some(o => o.output_type === 'error'));
  return window.labRunFailed || failed || cells.every(c => c.executionCount !== null && c.executionState !== 'running');
}"""


def plain(lines: list[str]) -> str:
    """A traceback without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


@dataclass
class NotebookPage:
    """One notebook, open in the browser.

    `page` is playwright's own page, for everything that has no method here.
    """

    page: Page
    server: Server
    name: str
    also: list[str] = field(default_factory=list)  # beginnings of further addresses that it may ask
    refused: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, server: Server, name: str) -> NotebookPage:
        """Open a notebook by its name, without `.ipynb`, and wait until its kernel answers."""
        context = browser.new_context(viewport={"width": 1280, "height": 900}, service_workers="block")
        notebook = cls(context.new_page(), server, name)
        page = notebook.page
        page.set_default_timeout(30_000)
        page.route("**/*", notebook._only_this_machine)
        page.on("websocket", lambda socket: notebook._remember_if_foreign(socket.url))
        page.on("console", notebook._remember_console)
        page.on("pageerror", lambda error: notebook.console_errors.append(str(error)))
        page.goto(f"{server.url}/doc/tree/{name}.ipynb?token={server.token}&reset")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context", timeout=60_000)
        page.evaluate(KERNEL_READY, KERNEL_START_S * 1000)
        return notebook

    def run_all(self, timeout_s: float = RUN_ALL_S) -> None:
        """Forget stored outputs, run every cell, wait for the last; NotebookError with what a cell raised."""
        self.command("notebook:clear-all-cell-outputs", wait=True)
        self.page.evaluate("() => { window.labRunFailed = false; window.labErrors = []; }")
        self.command("notebook:run-all-cells")
        self.page.wait_for_function(SETTLED, timeout=timeout_s * 1000)
        self.raise_errors()

    def raise_errors(self) -> None:
        """NotebookError for the first cell that shows an error, and for what a call-back raised."""
        for number, cell in enumerate(self.cells(), start=1):
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    raise NotebookError(
                        f"{self.name}, code cell {number}: {output['ename']}: {output['evalue']}\n{plain(output['traceback'])}"
                    )
        if raised := self.page.evaluate("() => window.labErrors"):
            raise NotebookError(f"{self.name}, raised in a call-back:\n{plain(raised[0])}")

    def cells(self) -> list[dict]:
        """Source, execution count and outputs of each code cell, as the page holds them."""
        return self.page.evaluate(CELLS)

    def cell(self, containing: str) -> Locator:
        """The first code cell whose source contains a text."""
        inputs = self.page.locator(".jp-Cell-inputArea", has_text=containing)
        return self.page.locator(".jp-CodeCell").filter(has=inputs).first

    def output(self, containing: str) -> Locator:
        """What that cell shows, without the prompt beside it: one match for each of its outputs."""
        return self.cell(containing).locator(".jp-OutputArea-output")

    def python(self, code: str) -> str:
        """Run code in the notebook's kernel, outside any cell; what it printed."""
        return self.page.evaluate(RUN_PYTHON, code)

    def expect_python(self, code: str, printed: str, within_s: float = 15.0) -> None:
        """Wait until code in the kernel prints that text: a page shows a change before the kernel has heard of the last one."""
        deadline = time.monotonic() + within_s
        while (last := self.python(code).strip()) != printed:
            assert time.monotonic() < deadline, f"{code} printed {last!r} for {within_s:g} s, not {printed!r}"
            self.page.wait_for_timeout(100)

    def theme(self, name: str) -> None:
        """Switch to `light` or `dark` and wait until the page shows it."""
        if name not in ("light", "dark"):
            raise ValueError(f"theme must be 'light' or 'dark', not {name!r}")
        title = f"JupyterLab {name.title()}"
        self.page.evaluate(
            "(theme) => { window.jupyterapp.commands.execute('apputils:change-theme', {theme}); }",
            title,
        )
        light = json.dumps(name == "light")
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")

    def screenshot(self, name: str, of: Locator | None = None) -> pathlib.Path:
        """A picture of the page, or of one element, in build/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        (of or self.page).screenshot(path=path)
        return path

    def command(self, name: str, *, wait: bool = False) -> None:
        """Execute a JupyterLab command; without `wait` the call returns at once, which Run All needs."""
        execute = f"window.jupyterapp.commands.execute({json.dumps(name)})"
        if wait:
            self.page.evaluate(f"async () => {{ await {execute}; }}")
        else:
            self.page.evaluate(f"() => {{ {execute}.catch(() => {{ window.labRunFailed = true; }}); }}")

    def close(self) -> None:
        """Stop the kernel and close the page."""
        with contextlib.suppress(Exception):
            self.page.evaluate(SHUT_DOWN)
        self.page.context.close()

    def assert_clean(self) -> None:
        """Nothing left the machine, no cell shows an error, the console is quiet."""
        self.raise_errors()
        if self.refused:
            raise NotebookError(f"{self.name} asked for other machines: {sorted(set(self.refused))}")
        if self.console_errors:
            raise NotebookError(f"{self.name}, errors in the console:\n" + "\n".join(self.console_errors))

    def _only_this_machine(self, route: Route) -> None:
        url = route.request.url
        if self._remember_if_foreign(url):
            route.abort()
        else:
            route.continue_()

    def _remember_if_foreign(self, url: str) -> bool:
        own = self.server.url
        known = (f"{own}/", f"{own.replace('http', 'ws', 1)}/", "data:", "blob:", "about:", *self.also)
        foreign = not url.startswith(known)
        if foreign:
            self.refused.append(url)
        return foreign

    def _remember_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            place = message.location.get("url", "").split("?")[0]
            self.console_errors.append(f"{message.text} ({place})")


RUN_PYTHON = """async (code) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({code, store_history: false});
  let printed = '';
  future.onIOPub = message => {
    if (message.header.msg_type === 'stream') printed += message.content.text;
    if (message.header.msg_type === 'error') printed += message.content.ename + ': ' + message.content.evalue;
  };
  await Promise.race([future.done, new Promise((_, reject) =>
    setTimeout(() => reject(new Error('no answer from the kernel after 60 s')), 60000))]);
  return printed;
}"""
SHUT_DOWN = """async () => Promise.race([window.jupyterapp.shell.currentWidget.sessionContext.shutdown(),
  new Promise(resolve => setTimeout(resolve, 5000))])"""
