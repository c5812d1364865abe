"""Simulated devices, messages under way between them, and a plain account of all writes by which the stores are judged.

The account knows nothing of vectors: it holds, for each device, the set of writes that reached it, and for each write the writes
that its author replaced. What nobody replaced has to be on every device in the end, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from autoglm_lab.edge.sync.endpoint import CONTEXT, Endpoint
from autoglm_lab.edge.sync.framing import unpack
from autoglm_lab.edge.sync.message import Changes
from autoglm_lab.edge.sync.operation import Reading
from autoglm_lab.edge.sync.persistence import HighWaterMark, dump, high_water_mark, load
from autoglm_lab.edge.sync.registry import Registry
from autoglm_lab.edge.sync.sealing import ClearSeal, Seal
from autoglm_lab.edge.sync.store import Store
from autoglm_lab.edge.sync.version_vector import Dot

MOST_ANSWERS = 10_000  # of one healing: more would be a conversation without an end


class Write(NamedTuple):
    """A write of the account: its key, what the store holds of it, and the writes that it replaced."""

    key: str
    content: tuple[Dot, bytes | None]
    over: frozenset[int]


class Transit(NamedTuple):
    """A message under way, with the writes that had reached its sender."""

    sender: int
    receiver: int
    data: bytes
    history: frozenset[int]


@dataclass
class SimulatedDevice:
    """A phone: its end of the line, the mark outside of its backups, its backups, and what its user has on the screen."""

    endpoint: Endpoint
    mark: HighWaterMark
    history: frozenset[int] = frozenset()
    backups: list[tuple[bytes, frozenset[int]]] = field(default_factory=list)
    screen: dict[str, Reading] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The store behind the line."""
        return self.endpoint.store


@dataclass(frozen=True)
class Judgement:
    """The state after healing: writes that are missing without a successor, old ones that came back, and equality of all."""

    n_writes: int
    n_lost: int
    n_revived: int
    is_equal: bool
    refusals: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """True when nothing is lost, nothing came back, and all devices are equal."""
        return self.is_equal and not self.n_lost and not self.n_revived


class Fleet:
    """`count` paired devices. With `has_marks` false a device takes an old backup for its current data."""

    def __init__(self, count: int, seal: Seal | None = None, has_marks: bool = True) -> None:
        self._seal, self._has_marks, self._registry = seal or ClearSeal(), has_marks, Registry()
        numbers = [self._new_number() for _ in range(count)]
        self.devices = [SimulatedDevice(Endpoint(Store(n, numbers), self._seal), HighWaterMark(n, 0)) for n in numbers]
        self.under_way: list[Transit] = []
        self.cut_lines: set[frozenset[int]] = set()
        self.writes: list[Write] = []
        self.refusals: list[str] = []
        self._numbers: dict[tuple[str, tuple[Dot, bytes | None]], int] = {}  # of writes, by key and content

    def _new_number(self) -> int:
        return self._registry.number(len(self._registry.long_ids).to_bytes(16, "big"))

    # Its users

    def read(self, device: int, key: str) -> None:
        """Read a key onto the screen; the next write is over what stands there now, whatever arrives meanwhile."""
        self.devices[device].screen[key] = self.devices[device].store.get(key)

    def write(self, device: int, key: str, *, is_deletion: bool = False) -> None:
        """Write a new value, or delete, over what is on the screen. A store that needs a new number refuses, and gets one."""
        one = self.devices[device]
        reading = one.screen.pop(key, None) or one.store.get(key)
        if is_deletion and not reading.values:
            return
        value = None if is_deletion else str(len(self.writes)).encode()
        try:
            dot = one.store.resolve(reading, value)
        except ValueError:
            if not one.store.needs_new_id:
                raise
            self.renew(device)
            dot = one.store.resolve(reading, value)
        over = frozenset(self._numbers[key, (version.dot, version.value)] for version in reading.versions)
        number = len(self.writes)
        self.writes.append(Write(key, (dot, value), over))
        self._numbers[key, (dot, value)] = number
        one.history |= {number}
        one.mark = high_water_mark(one.store)

    # Their devices

    def renew(self, device: int) -> None:
        """Pair a device again: it gets a new number, of which at first only the registering device hears."""
        one, new = self.devices[device], self._new_number()
        one.store.renew(new)
        self.devices[0].store.admit(new)
        one.mark = high_water_mark(one.store)

    def back_up(self, device: int) -> None:
        """Keep a copy of a device's data."""
        one = self.devices[device]
        one.backups.append((dump(one.store), one.history))

    def restart(self, device: int) -> None:
        """End the program and start it again."""
        one = self.devices[device]
        self._start(one, dump(one.store), one.history)

    def restore(self, device: int, backup: int) -> None:
        """Put a device back to one of its backups; what it alone knew is gone with it."""
        one = self.devices[device]
        self._start(one, *one.backups[backup])

    def _start(self, one: SimulatedDevice, data: bytes, history: frozenset[int]) -> None:
        store = load(data, one.mark)
        if not self._has_marks:
            store = load(data, high_water_mark(store))
        one.endpoint, one.history, one.screen = Endpoint(store, self._seal), history, {}

    def compact(self, device: int) -> None:
        """Drop tombstones that everybody knows."""
        self.devices[device].store.compact()

    # Their lines

    def send(self, sender: int, receiver: int, *, is_heartbeat: bool = False) -> None:
        """Send a heartbeat, or what the receiver is believed to lack."""
        one, other = self.devices[sender], self.devices[receiver].store.replica
        if is_heartbeat or other not in one.store.peer_vectors:
            self._post(sender, receiver, one.endpoint.heartbeat())
        else:
            self._post(sender, receiver, one.endpoint.changes_for(other))

    def _post(self, sender: int, receiver: int, data: bytes) -> None:
        if frozenset((sender, receiver)) not in self.cut_lines:
            self.under_way.append(Transit(sender, receiver, data, self.devices[sender].history))

    def deliver(self, place: int, *, is_doubled: bool = False) -> None:
        """Let one of the messages under way arrive, in whatever order; a doubled one stays under way as well."""
        transit = self.under_way[place] if is_doubled else self.under_way.pop(place)
        one = self.devices[transit.receiver]
        try:
            answers = one.endpoint.receive(transit.data)
        except ValueError as refusal:
            self.refusals.append(str(refusal))
            return
        message = unpack(self._seal.open(transit.data, CONTEXT))
        if isinstance(message, Changes) and message.end <= one.store.vector:
            one.history |= transit.history
        for answer in answers:
            self._post(transit.receiver, transit.sender, answer)

    # The end

    def heal(self) -> Judgement:
        """Lose what is under way, mend all lines, pair all devices, let them talk until they are quiet, and judge."""
        self.under_way, self.cut_lines = [], set()
        for device, one in enumerate(self.devices):
            if one.store.needs_new_id:
                self.renew(device)
        for one in self.devices:
            for other in self.devices:
                one.store.admit(other.store.replica)
        pairs = [(a, b) for a in range(len(self.devices)) for b in range(len(self.devices)) if a != b]
        for _ in range(2):
            for sender, receiver in pairs:
                self.send(sender, receiver, is_heartbeat=True)
                self._settle()
        return self.judge()

    def _settle(self) -> None:
        for _ in range(MOST_ANSWERS):
            if not self.under_way:
                return
            self.deliver(0)
        raise ValueError(f"{MOST_ANSWERS:,} messages were not enough; two devices answer each other without an end")

    def judge(self) -> Judgement:
        """Compare every device with the account."""
        numbers = frozenset[int]().union(*(one.history for one in self.devices))
        predecessors = frozenset[int]().union(*(self.writes[number].over for number in numbers))
        last = [self.writes[number] for number in numbers - predecessors]
        expected = {(write.key, write.content) for write in last if write.content[1] is not None}
        stores = [one.store for one in self.devices]
        contents = [_contents(store) for store in stores]
        n_lost = sum(len(expected - content) for content in contents)
        n_revived = sum(len(content - expected) for content in contents)
        is_equal = all(store.vector == stores[0].vector and store.digest == stores[0].digest for store in stores)
        return Judgement(len(self.writes), n_lost, n_revived, is_equal, tuple(self.refusals))


def _contents(store: Store) -> set[tuple[str, tuple[Dot, bytes | None]]]:
    """The values of a store, under their keys and dots."""
    return {
        (entry.key, (version.dot, version.value))
        for entry in store.entries()
        for version in entry.versions
        if version.value is not None
    }
