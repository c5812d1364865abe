"""Pages of somebody else's in a real Chromium: they neither use nor read the servers of this machine, whose own pages do."""

import contextlib
import http.server
import threading

import pytest

from autoglm_lab.serve import running
from tests.browser.driver import FLAGS, find_chromium
from tests.unit.served import Fake
from tests.unit.test_web import folder, page  # noqa: F401  (fixtures)

EVIL = "evil.example"
ATTACKS = """async ({serve, phone, body, times}) => {
  const seen = {};
  const attempt = async (name, url, options) => {
    try {
      const response = await fetch(url, options);
      seen[name] = `${response.type} ${response.status} ${(await response.text()).length}`;
    } catch { seen[name] = "refused"; }
  };
  const post = (more) => ({method: "POST", ...more});
  await attempt("read models", `${serve}/v1/models`);
  await attempt("read health", `${serve}/health`);
  await attempt("read page", `${phone}/`);
  await attempt("json", `${serve}/v1/chat/completions`, post({body, headers: {"Content-Type": "application/json"}}));
  for (const mode of ["cors", "no-cors"]) {
    await attempt(`text ${mode}`, `${serve}/v1/chat/completions`, post({body, mode}));
    await attempt(`blob ${mode}`, `${serve}/v1/chat/completions`, post({body: new Blob([body]), mode}));
    await attempt(`times ${mode}`, `${phone}/latency`, post({body: times, mode}));
    await attempt(`blob of times ${mode}`, `${phone}/latency`, post({body: new Blob([times]), mode}));
  }
  navigator.sendBeacon(`${serve}/v1/chat/completions`, new Blob([body], {type: "text/plain"}));
  navigator.sendBeacon(`${phone}/latency`, times);
  const loaded = (tag, src) => new Promise((resolve) => {
    const node = document.createElement(tag);
    node.onload = () => resolve("loaded");
    node.onerror = () => resolve("refused");
    node.src = src;
    document.body.append(node);
  });
  seen.script = await loaded("script", `${phone}/sw.js`);
  seen.picture = await loaded("img", `${phone}/${window.icon}`);
  await new Promise((resolve) => {
    const form = Object.assign(document.createElement("form"), {method: "POST", enctype: "text/plain", target: "sink"});
    form.action = `${serve}/v1/chat/completions`;
    const sink = Object.assign(document.createElement("iframe"), {name: "sink", onload: resolve});
    const field = Object.assign(document.createElement("input"), {name: body.slice(0, -1) + ', "x": "', value: '"}'});
    form.append(field);
    document.body.append(sink, form);
    form.submit();
    setTimeout(resolve, 3000);
  });
  return seen;
}"""
BODY = '{"messages": [{"role": "user", "content": "open Settings"}]}'
TIMES = '{"device": "evil", "ms": {"total": 1}}'


@contextlib.contextmanager
def blank_page():
    """A page that somebody else serves."""

    class Blank(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><link rel=icon href=data:,><body>hello")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def rebound(browser):
    """A browser in which a foreign name leads to this machine."""
    rule = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    flags = [flag for flag in FLAGS if "host-resolver" not in flag]
    own = browser.browser_type.launch(executable_path=find_chromium(), headless=True, args=[*flags, rule])
    yield own
    own.close()


@pytest.mark.parametrize("name", ["127.0.0.1", EVIL])
def test_a_page_of_another_origin_uses_and_reads_nothing(rebound, page, name):  # noqa: F811
    engine = Fake()
    with running(engine) as url, blank_page() as port:
        tab = rebound.new_page()
        tab.goto(f"http://{name}:{port}/")
        icon = next(path for path in page.files if path.endswith("icon.svg"))
        tab.evaluate("(icon) => { window.icon = icon; }", icon)
        page.latencies.clear()
        seen = tab.evaluate(ATTACKS, {"serve": url.removesuffix("/v1"), "phone": page.url[:-1], "body": BODY, "times": TIMES})
        tab.wait_for_timeout(500)
        tab.close()
        assert engine.asked == [] and page.latencies == []
        assert set(seen.values()) <= {"refused", "opaque 0 0"}, seen


def test_a_name_that_was_made_to_lead_here_reads_nothing(rebound, page):  # noqa: F811
    engine = Fake()
    with running(engine) as url:
        for target, paths in (
            (url.removesuffix("/v1"), ["/v1/models", "/health", "/openapi.json"]),
            (page.url[:-1], ["/", "/sw.js"]),
        ):
            tab = rebound.new_page()
            first = tab.goto(target.replace("127.0.0.1", EVIL) + paths[0])
            assert first.status == 403
            for path in paths:
                assert tab.evaluate("async (path) => (await fetch(path)).status", path) == 403
            post = """async ([path, body]) => (await fetch(path, {method: "POST", body,
                headers: {"Content-Type": "application/json", "X-Page-Token": "x"}})).status"""
            assert tab.evaluate(post, ["/v1/chat/completions", BODY]) == 403
            assert tab.evaluate(post, ["/latency", TIMES]) == 403
            tab.close()
        assert engine.asked == [] and page.latencies == []


def test_its_own_page_sends_its_times_also_inside_another(rebound, page):  # noqa: F811
    """A notebook shows the page in a frame: what the page itself asks is of its own origin."""
    page.latencies.clear()
    send = """async (times) => (await fetch("latency", {method: "POST", body: times, headers: {"Content-Type": "application/json",
        "X-Page-Token": document.querySelector("meta[name=page-token]").content}})).status"""
    with blank_page() as port:
        tab = rebound.new_page()
        tab.goto(page.url)
        assert tab.evaluate(send, TIMES) == 204
        tab.goto(f"http://127.0.0.1:{port}/")
        tab.evaluate(
            "(src) => document.body.append(Object.assign(document.createElement('iframe'), {src, name: 'phone'}))", page.url
        )
        tab.wait_for_function("frames.length")
        frame = tab.frame("phone")
        frame.wait_for_load_state()
        assert frame.evaluate(send, TIMES) == 204
        tab.close()
    assert len(page.latencies) == 2
