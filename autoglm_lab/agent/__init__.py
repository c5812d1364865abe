"""The agent: look at the screen, ask an engine, do what it says, look again."""

from autoglm_lab.agent.loop import Step, run, steps
from autoglm_lab.agent.trace import frames, save_trace

__all__ = ["Step", "frames", "run", "save_trace", "steps"]
