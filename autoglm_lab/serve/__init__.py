"""The agent behind HTTP, as OpenAI's clients and phone agents expect it: `running(engine)`, or `autoglm-lab serve`."""

from __future__ import annotations

from typing import Any

__all__ = ["ChatAutoGLM", "Limits", "RemoteEngine", "running"]

_PLACES = {"running": "server", "Limits": "limits", "ChatAutoGLM": "langchain", "RemoteEngine": "client"}


def __getattr__(name: str) -> Any:
    """Load on first use: a client needs no server, and a server no LangChain."""
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(f"autoglm_lab.serve.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
