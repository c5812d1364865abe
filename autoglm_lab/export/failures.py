"""Errors of the exporter in one line: the operator or the line of code, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 300  # letters of a message that is passed on


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Raise an error inside as a ValueError of one line, which begins with `what` or names an operator."""
    try:
        yield
    except (MemoryError, NotImplementedError):
        raise
    except Exception as error:
        raise ValueError(_message(what, error)) from error


def _message(what: str, error: Exception) -> str:
    chain = list(_causes(error))
    text = "\n".join(str(each) for each in chain)
    operator = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", text)
    if operator:
        return (
            f"the operator {operator[1]} has no translation to ONNX; compute it outside of the module, "
            "or write it with operators that ONNX has"
        )
    line = re.search(r"The following call raised this error:\n[ \t]+File .*\n[ \t]+(.+)", text)
    if "data-dependent" in text:
        at = f" (`{line[1].strip()}`)" if line else ""
        return f"the module decides by a value{at}, which a graph cannot; use torch.where, or compute both"
    node = re.search(r"call_function\[target=torch\.ops\.([\w.]+)\]", text)
    if node:
        return f"the operator {node[1]} could not be written: {_first_line(chain[-1])}; write it with operators that ONNX has"
    return f"{what}: {_first_line(chain[-1])}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    while True:
        yield error
        if error.__cause__ is None:
            return
        error = error.__cause__


def _first_line(error: BaseException) -> str:
    """Return the first line of a message that says something, without colours."""
    plain = re.sub(r"\x1b\[\d+m", "", str(error))
    text = next((line.strip() for line in plain.splitlines() if line.strip()), "no reason given")
    return f"{type(error).__name__}: {text if len(text) <= LONGEST else text[:LONGEST] + '...'}"
