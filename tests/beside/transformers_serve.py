"""`transformers serve` and our server with the same weights: the decoder as a plain GLM, typed requests, nothing seen.

Prints the answers per second of both, by clients at once, as JSON; answers are compared first. Run where transformers' command
`serve` works: .venv/bin/python -m tests.beside.transformers_serve BUNDLE, a bundle of the shipped agent exported with --rows.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import torch
from transformers import GlmConfig, GlmForCausalLM, PreTrainedTokenizerFast

import autoglm_lab as lab
from autoglm_lab.benchmarks.http_load import ask, served
from autoglm_lab.benchmarks.peers import llama
from autoglm_lab.evaluation.machine import fast_maths
from autoglm_lab.evaluation.success import World, typed_requests
from autoglm_lab.evaluation.timing import Spread
from autoglm_lab.runtime.prompt import ASSISTANT, END, END_THINK, THINK, USER

TEMPLATE = (
    USER + "{{ messages[-1]['content'] if messages[-1]['content'] is string else messages[-1]['content'][0]['text'] }}"
    '\n{"current_app": "System Home"}\nlast: none' + ASSISTANT + THINK + END_THINK
)
TOKENS = 64


def write_plain(engine, folder):
    """The decoder as a folder of transformers' own GLM, with a template that writes the agent's prompt."""
    model = engine.model
    facts = model.config.to_dict()
    config = GlmConfig(
        **{name: facts[name] for name in GlmConfig().to_dict() if name in facts and name not in ("architectures", "dtype")}
    )
    config.architectures, config.tie_word_embeddings = ["GlmForCausalLM"], False
    plain = GlmForCausalLM(config)
    state = {name: value.float() for name, value in model.state_dict().items() if name in llama.names(len(model.layers))}
    state["embed_tokens.weight"] = state["embed_tokens.weight"] * model.config.hidden_size**0.5
    named = {name if name.startswith("lm_head") else f"model.{name}": value.clone() for name, value in state.items()}
    missing, unknown = plain.load_state_dict(named, strict=False)
    assert not unknown and all("rotary" in name for name in missing), (missing, unknown)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine.processor.tokenizer.backend_tokenizer, eos_token=END, pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATE
    plain.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False)
    plain.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def transformers_served(folder, *options):
    """A running `transformers serve`; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
        "--dtype",
        "float32",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"}) as process:
        try:
            for _ in range(240):
                try:
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                    break
                except (URLError, OSError):
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(timeout=30)


def answer(url, body):
    """The text of one answer."""
    asked = Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urlopen(asked, timeout=120) as reply:
        return json.loads(reply.read())["choices"][0]["message"]["content"]


def main(bundle, rounds=3, clients=(1, 4, 16)):
    """Compare answers, then load both in turns."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as room:
        plain = Path(room) / "plain"
        write_plain(lab.load(), plain)
        texts = list(dict.fromkeys(request.task.text for request in typed_requests(World(0), 40)))[:16]
        bodies = [
            json.dumps(
                {"model": str(plain), "messages": [{"role": "user", "content": text}], "max_tokens": TOKENS, "temperature": 0}
            ).encode()
            for text in texts
        ]
        ways = {"transformers serve": lambda: transformers_served(plain), "batches": lambda: served(bundle, ())}
        if "--continuous" in sys.argv:
            ways["transformers serve, continuous batching"] = lambda: transformers_served(plain, "--continuous-batching")
        said, runs = {}, {name: [[] for _ in clients] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                with way() as url:
                    said.setdefault(name, [answer(url, body) for body in bodies])
                    for place, count in enumerate(clients):
                        runs[name][place].append(asyncio.run(ask(url, bodies, count, max(32, 2 * count))))
    same = sum(a == b for a, b in zip(said["transformers serve"], said["batches"], strict=True))
    ratios = {
        f"answers_vs_transformers_serve_{count}": asdict(
            Spread.of(
                [
                    ours.answers_per_s / theirs.answers_per_s
                    for ours, theirs in zip(runs["batches"][place], runs["transformers serve"][place], strict=True)
                ]
            )
        )
        for place, count in enumerate(clients)
    }
    speeds = {
        name: {
            str(count): asdict(Spread.of([run.answers_per_s for run in by_clients]))
            for count, by_clients in zip(clients, found, strict=True)
        }
        for name, found in runs.items()
    }
    failed = {name: sum(run.failed for place in found for run in place) for name, found in runs.items()}
    print(
        json.dumps(
            {
                "same_answers": same,
                "of": len(texts),
                "answers_per_s": speeds,
                "ratios": ratios,
                "failed": failed,
                "cpu_flags": fast_maths(),
                "bundle": "whole",
                "command": "python -m tests.beside.transformers_serve bundle",
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), rounds=int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdigit() else 3)
