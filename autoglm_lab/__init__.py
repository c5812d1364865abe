"""AutoGLM Lab: learn how a multimodal language model is put on a phone, with one tiny agent that really runs.

>>> import autoglm_lab as lab
>>> engine = lab.load()                     # doctest: +SKIP
>>> lab.agent.run("open Settings", lab.SimulatedPhone(7), engine)       # doctest: +SKIP
"""

from __future__ import annotations

import builtins
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_lab import moved

if TYPE_CHECKING:
    from autoglm_lab import agent, compress, phone, serve, widgets
    from autoglm_lab.checks import check
    from autoglm_lab.model.engine import TorchEngine
    from autoglm_lab.phone.simulator import SimulatedPhone
    from autoglm_lab.runtime.onnx_engine import OnnxEngine
    from autoglm_lab.session import open_once
    from autoglm_lab.widgets.live import train

__version__ = "0.1.0"
__all__ = [
    "OnnxEngine",
    "SimulatedPhone",
    "TorchEngine",
    "__version__",
    "agent",
    "check",
    "compress",
    "connect",
    "load",
    "open_once",
    "phone",
    "serve",
    "train",
    "widgets",
]

# each name is imported when it is first used: the package itself imports nothing
_LAZY = {
    "OnnxEngine": "autoglm_lab.runtime.onnx_engine",
    "SimulatedPhone": "autoglm_lab.phone.simulator",
    "TorchEngine": "autoglm_lab.model",
    "check": "autoglm_lab.checks",
    "open_once": "autoglm_lab.session",
    "train": "autoglm_lab.widgets.live",
    "agent": "",
    "compress": "",
    "phone": "",
    "serve": "",
    "widgets": "",
}

moved.install()


def load(folder: Path | str | None = None, *, grammar: bool = False) -> Any:
    """Load the shipped agent, or the one in `folder`: a bundle runs in ONNX Runtime, any other, compressed or not, in PyTorch.

    With `grammar` a bundle writes nothing that does not parse. FileNotFoundError names a missing file, ValueError one that was
    changed after its export, or a `grammar` for what is no bundle.
    """
    from autoglm_lab.runtime.bundle import is_bundle

    if folder is not None and is_bundle(folder):
        from autoglm_lab.runtime.onnx_engine import OnnxEngine

        return OnnxEngine(folder, grammar=grammar)
    if grammar:
        raise ValueError("only a bundle can be held to the grammar; write one with `autoglm-lab export`")
    from tqdm.auto import tqdm

    # in a command's output, where no person watches, it would be noise
    quiet = False if hasattr(builtins, "__IPYTHON__") else None
    with tqdm(total=2, desc="loading the agent", unit="part", leave=False, disable=quiet) as bar:
        from autoglm_lab.compress.agent import load_agent

        bar.update()  # PyTorch and transformers are there
        engine = load_agent(folder)
        bar.update()
    return engine


def connect(url: str, *, api_key: str = "EMPTY", model: str | None = None) -> Any:
    """The engine behind a server with OpenAI's interface: `autoglm-lab serve`, or vLLM with the real model.

    ValueError for what is no address.
    """
    from autoglm_lab.serve.client import RemoteEngine

    return RemoteEngine(url, api_key=api_key, model=model)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"autoglm_lab has no {name!r}; it has {', '.join(__all__)}")
    module = import_module(_LAZY[name] or f"{__name__}.{name}")
    return getattr(module, name) if _LAZY[name] else module
