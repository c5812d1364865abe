"""A model that was not trained on this grammar, behind a real address: what it writes is read, told back, and printed."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

import autoglm_lab as lab
from autoglm_lab.cli import main

LAUNCH, END = "do(action='Launch', app='Chrome').", '<answer>finish(message="done")</answer>'


class Model(BaseHTTPRequestHandler):
    """Answers with the deltas of a list, one list for each request, and keeps what it was asked."""

    def do_GET(self):
        self._send("application/json", json.dumps({"object": "list", "data": [{"id": "big", "object": "model"}]}))

    def do_POST(self):
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        events = [
            {
                "id": "1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "big",
                "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
            }
            for delta in self.server.answers.pop(0)
        ]
        self._send("text/event-stream", "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n")

    def _send(self, kind, text):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Be silent."""


@contextmanager
def serving(*answers):
    """A server that gives these answers: texts, or lists of deltas."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.answers = [[{"content": answer}] if isinstance(answer, str) else answer for answer in answers]
    server.requests = []
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("deltas", "thinking", "action", "forgiven"),
    [
        ([{"content": "<think>t</think><answer>do(acti"}, {"content": 'on="Home")</answer>'}], "t", "Home", ("a tag",)),
        (
            [{"reasoning_content": 'maybe do(action="Back")'}, {"content": 'do(action="Home")'}],
            'maybe do(action="Back")',
            "Home",
            (),
        ),
        ([{"reasoning": "vLLM calls it so"}, {"content": 'do(action="Home")'}], "vLLM calls it so", "Home", ()),
        ([{"content": "x\ud83d"}, {"content": '\ude00 do(action="Home")'}], "x😀", "Home", ()),
        ([{"content": 'x\ud83d do(action="Home")'}], "x\ufffd", "Home", ()),
        ([{"reasoning_content": 'I will do(action="Back")'}], 'I will do(action="Back")', None, ()),
        ([{"content": 'do(action="Type", text="\ud83d")'}], "", None, ()),
        ([{"content": None}], "", None, ()),
    ],
)
def test_an_answer_of_another_model_is_read(deltas, thinking, action, forgiven):
    with serving(deltas) as (_, url):
        answer = lab.connect(url).answer("x").answer
    assert (answer.thinking, answer.action and answer.action.name, answer.irregularities) == (thinking, action, forgiven)
    assert (answer.error is None) is (action is not None)
    json.dumps(vars(answer) | {"action": None}, ensure_ascii=False).encode()


def test_a_bad_answer_is_told_to_the_model_once_more():
    with serving('do(action="Call_API", instruction="sum up")', LAUNCH, END) as (server, url):
        done = lab.agent.run("open Chrome", lab.SimulatedPhone(1, lang="en"), lab.connect(url))
    assert [step.end for step in done] == ["", "", "finished: done"]
    assert set(done[1].irregularities) == {"single quotes", "a full stop"}
    *_, said, now = server.requests[1]["messages"]
    assert said == {"role": "assistant", "content": 'do(action="Call_API", instruction="sum up")'}
    [words] = [part["text"] for part in now["content"] if part["type"] == "text"]
    assert "not done: Call_API is not something that this phone can do" in words


def test_the_demo_says_why_it_ended(tmp_path, capsys):
    call = ["demo", "--task", "open Chrome", "--seed", "1", "--out", str(tmp_path)]
    with serving("I cannot", "I really cannot") as (_, url):
        assert main([*call, "--url", url]) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("not done: no action in 'I really cannot'") and "film" not in printed
    assert not (tmp_path / "filmstrip.png").exists()
    with serving(LAUNCH, END) as (_, url):
        assert main([*call, "--url", url]) in (0, 1)
    printed = capsys.readouterr().out
    assert "overlooked: " in printed and printed.splitlines()[-1].endswith(
        f"finished: done; the film is in {tmp_path / 'filmstrip.png'}"
    )
    with serving(*['do(action="Launch", app="Chrome")', 'do(action="Home")'] * 5) as (_, url):
        assert main([*call, "--url", url, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["end"].startswith("going in circles") and report["steps"][-1]["error"] == report["end"]
    with serving(*['do(action="Take_over", message="log in")'] * 9) as (_, url):
        assert main([*call, "--url", url, "--json", "--steps", "3"]) == 1
    assert "nobody takes over" in json.loads(capsys.readouterr().out)["end"]
