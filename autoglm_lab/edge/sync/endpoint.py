"""One device's end of a line: sealed messages in and out of its store. It keeps no clock and needs no line that is in order."""

from __future__ import annotations

from autoglm_lab.edge.sync.framing import pack, unpack
from autoglm_lab.edge.sync.message import ChangesRequest, Heartbeat, Message
from autoglm_lab.edge.sync.sealing import Seal
from autoglm_lab.edge.sync.store import Store
from autoglm_lab.edge.sync.version_vector import Order

CONTEXT = b"autoglm-lab sync 1"


class Endpoint:
    """A store behind a seal. Lost, doubled and reordered messages do no harm: the next heartbeat tells what is missing."""

    def __init__(self, store: Store, seal: Seal) -> None:
        self.store, self._seal = store, seal

    def heartbeat(self) -> bytes:
        """The message to send now and then, and after a break."""
        return self._send(self._heartbeat())

    def changes_for(self, member: int) -> bytes:
        """The changes that a member lacks as far as is known, to send right after a write. ValueError for no member."""
        if member not in self.store.peer_vectors:
            raise ValueError(f"replica {member} is no member; members are {sorted(self.store.peer_vectors)}")
        return self._send(self.store.changes_since(self.store.peer_vectors[member]))

    def receive(self, envelope: bytes) -> list[bytes]:
        """Take in one message; give the answers to its sender.

        ValueError for one that is not to be trusted, and for a peer with an equal vector and different data, for then two devices
        write under one number; the store is as before.
        """
        return [self._send(answer) for answer in self.answers(unpack(self._seal.open(envelope, CONTEXT)))]

    def answers(self, message: Message) -> list[Message]:
        """Take in one message that was opened; give the answers."""
        store = self.store
        if isinstance(message, ChangesRequest):
            store.record_peer(message.sender, message.vector)
            return [store.changes_since(message.vector)]
        if isinstance(message, Heartbeat):
            return self._catch_up(message)
        return [self._heartbeat() if store.merge(message) else ChangesRequest(store.replica, store.vector)]

    def _catch_up(self, peer: Heartbeat) -> list[Message]:
        store = self.store
        store.check_member(peer.sender)
        order = store.vector.compare(peer.vector)
        if order is Order.EQUAL and store.digest != peer.digest:
            raise ValueError(
                f"replicas {store.replica} and {peer.sender} know the same writes, {store.vector}, and hold different data: "
                "two devices write under one number; pair the one that was restored or copied again"
            )
        store.record_peer(peer.sender, peer.vector)
        answers: list[Message] = [ChangesRequest(store.replica, store.vector)] if order in (Order.BEFORE, Order.CONCURRENT) else []
        return [*answers, store.changes_since(peer.vector)] if order in (Order.AFTER, Order.CONCURRENT) else answers

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(self.store.replica, self.store.vector, self.store.digest)

    def _send(self, message: Message) -> bytes:
        return self._seal.seal(pack(message), CONTEXT)
