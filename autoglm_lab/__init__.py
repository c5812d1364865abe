"""AutoGLM Lab: learn how a multimodal language model is put on a phone, with one tiny agent that really runs.

>>> import autoglm_lab as lab
>>> engine = lab.load()                     # doctest: +SKIP
>>> lab.agent.run("open Settings", lab.SimulatedPhone(7), engine)       # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm_lab import agent, compress, phone, widgets
    from autoglm_lab.checks import check
    from autoglm_lab.model.engine import TorchEngine
    from autoglm_lab.phone.simulator import SimulatedPhone
    from autoglm_lab.widgets.live import train

__version__ = "0.1.0"
__all__ = ["SimulatedPhone", "TorchEngine", "__version__", "agent", "check", "compress", "load", "phone", "train", "widgets"]

# what is asked for first is loaded then: the package itself imports nothing
_LAZY = {
    "SimulatedPhone": "autoglm_lab.phone.simulator",
    "TorchEngine": "autoglm_lab.model",
    "check": "autoglm_lab.checks",
    "train": "autoglm_lab.widgets.live",
    "agent": "",
    "compress": "",
    "phone": "",
    "widgets": "",
}


def load(folder: str | None = None) -> TorchEngine:
    """The shipped agent (or the one in `folder`, compressed or not) as a PyTorch engine. FileNotFoundError names a missing file."""
    from autoglm_lab.compress.agent import load_agent

    return load_agent(folder)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"autoglm_lab has no {name!r}; it has {', '.join(__all__)}")
    module = import_module(_LAZY[name] or f"{__name__}.{name}")
    return getattr(module, name) if _LAZY[name] else module
