"""The agent: look at the screen, ask an engine, do what it says, look again."""

from autoglm_lab.agent.loop import Step, run, steps

__all__ = ["Step", "run", "steps"]
