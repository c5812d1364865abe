"""An allow-list of fields for each purpose: a record keeps what the purpose needs, and a field that has no purpose is an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


class Minimise:
    """Fields of records by purpose (GDPR, articles 5(1)(b) and 5(1)(c)). ValueError without a purpose, or for one without fields.

    >>> keep = Minimise({"answer": ["task", "image"], "nearby": ["place"]})
    >>> keep({"task": "find coffee", "place": (31.2, 121.5)}, "nearby")
    {'place': (31.2, 121.5)}
    """

    def __init__(self, fields: Mapping[str, Collection[str]]) -> None:
        self.fields = {purpose: frozenset(names) for purpose, names in fields.items()}
        if not self.fields or not all(self.fields.values()):
            raise ValueError(f"the purposes are {fields}; one or more are needed, each with the fields that it needs")

    @property
    def known(self) -> frozenset[str]:
        """Every field that some purpose needs."""
        return frozenset[str]().union(*self.fields.values())

    def __call__(self, record: Mapping[str, Any], purpose: str) -> dict[str, Any]:
        """Keep the fields of a record that a purpose needs.

        ValueError for an unknown purpose, and for a field that no purpose needs: it ought not to have been collected.
        """
        if purpose not in self.fields:
            raise ValueError(f"{purpose!r} is no purpose; there are {', '.join(sorted(self.fields))}")
        if extra := sorted(record.keys() - self.known):
            raise ValueError(f"no purpose needs {', '.join(extra)}; do not collect it, or name the purpose that it serves")
        return {name: value for name, value in record.items() if name in self.fields[purpose]}


# What an agent asks an engine with (`runtime.engine.Engine.answer`): the record of a request, and how it is to be answered.
AGENT = Minimise(
    {
        "answer": ("task", "image", "audio", "current_app", "last", "history", "goal"),
        "decoding": ("think", "max_new_tokens", "sampling"),
    }
)
# What is published of a person's sessions (`release`).
SESSIONS = Minimise({"nearby": ("user", "place"), "next app": ("user", "apps")})
