"""Exercise checks: they try the learner's own function, and know the usual mistakes."""

from autoglm_lab.checks.exercise import Exercise, Verdict, check

__all__ = ["Exercise", "Verdict", "check"]
