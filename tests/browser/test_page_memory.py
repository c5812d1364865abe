"""The page's own loop: what it tells its agent of earlier actions. The agent is a list of answers in place of the worker."""

import json

import pytest

from autoglm_lab.device.browser.server import BrowserPhone
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import FEATURES, FORMAT, GRAPHS, MANIFEST, TOKENIZER, digest

TIMEOUT_MS = 30_000
ANSWERS = [
    'do(action="Launch", app="Chrome")',
    'do(action="Home")',
    'do(action="Swipe", start=[200,500], end=[800,500])',  # the first page is in front
    'do(action="Tap", element=[0,999])',
    'do(action="Launch", app="Chrome")',
    'finish(message="done")',
]
WORKER = """(answers) => {
  window.told = [];
  window.Worker = class {
    async postMessage({ id, kind, request }) {
      let done;
      if (kind === "load") {
        const sheet = document.querySelector("link[rel=stylesheet]").href;
        done = await (await fetch(new URL("page.json", sheet))).json();
      } else {
        window.told.push(request.last);
        done = { text: answers[window.told.length - 1], ms: { total: 1 } };
      }
      setTimeout(() => this.onmessage({ data: { id, done } }));
    }
  };
}"""


@pytest.mark.parametrize(
    ("memory", "told"),
    [
        (4, ["", "Launch", "Launch, Home", "Launch, Home, Swipe=", "Launch, Home, Swipe=, Tap=", "Home, Swipe=, Tap=, Launch"]),
        (None, ["", "Launch", "Home", "Swipe", "Tap", "Launch"]),
    ],
)
def test_the_page_tells_its_agent_as_many_actions_as_it_reads(browser, tmp_path, monkeypatch, memory, told):
    files = (*GRAPHS.values(), *FEATURES.values(), TOKENIZER)
    for name in files:
        (tmp_path / name).write_bytes(b"stub")
    manifest = {
        "format": FORMAT,
        "opset": 20,
        "recipe": {},
        "places": 640,
        "end": 1,
        "shared_scale": True,
        "files": {name: {"bytes": 4, "sha256": digest(tmp_path / name)} for name in files},
    }
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | ({} if memory is None else {"memory": memory})))
    monkeypatch.setattr("autoglm_lab.device.browser.server.runtime_files", dict)
    with BrowserPhone(tmp_path, phone=SimulatedPhone(1, lang="en", size=(120, 240))) as served:
        page = browser.new_context().new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.add_init_script(f"({WORKER})({json.dumps(ANSWERS)})")
        page.goto(served.url)
        page.get_by_text("Ready after").wait_for()
        page.locator("#task").fill("open Chrome")
        page.locator("#task").press("Enter")
        page.get_by_text("Done: done").wait_for()
        assert page.evaluate("told") == told
        page.context.close()
