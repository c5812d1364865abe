"""Asks the agent what real people said to assistants: `python -m tests.beside.people DIR [--model FOLDER]`.

DIR holds `alarms.tsv` (text, time) and `beyond.tsv` (text, kind) with tabs between. They are measured on, never trained on, and lie
outside the repository. Prints both rates.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from autoglm_lab.evaluation.own_words import evaluate_people
from autoglm_lab.evaluation.success import Answers
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.model.engine import TorchEngine


class Listening:
    """An engine whose last answers can be read."""

    def __init__(self, engine: Answers) -> None:
        self.engine = engine
        self.memory = getattr(engine, "memory", 1)
        self.said: list[tuple[str, str]] = []

    def answer_many(self, requests):  # type: ignore[no-untyped-def]
        answers = self.engine.answer_many(requests)
        self.said += [(request.task.text, str(answer.action)) for request, answer in zip(requests, answers, strict=True)]
        return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--show", type=int, default=0, help="print so many answers")
    options = parser.parse_args()
    engine = TorchEngine.load(options.model)
    listening = Listening(BatchEngine(engine.model, engine.processor))
    for name, rate in evaluate_people(listening, options.folder).items():
        print(f"{name:14} {rate.rate:7.1%}   {rate.ci95[0]:.1%} to {rate.ci95[1]:.1%}   n = {rate.n}")
    for text, action in listening.said[-options.show :] if options.show else ():
        print(f"{text}  ->  {action}")


if __name__ == "__main__":
    main()
