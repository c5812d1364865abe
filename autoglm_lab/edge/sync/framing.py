"""Messages as bytes: packed by hand, and framed with their length for a stream.

    message    version and kind in one byte, sender, vector, and by kind
    heartbeat  8 bytes of digest
    request    no more
    changes    a mask of the replicas whose counter rises from base to end, each rise, entries
    copy       the floor's vector, entries

A vector is a count and (gap to the replica before, counter) in the order of the replicas. Entries are a count and, for each, a key
and one version or more: a tag, the dot, the value. The tag is twice 0 (known already), 1 (deleted) or 2 + length, and 1 more if
another version of the key follows. A dot that is known already is replica and counter; a new one is its place among all writes from
base to end, those of the first replica first, each replica's from the last to the first.
"""

from __future__ import annotations

from autoglm_lab.edge.sync.message import Changes, ChangesRequest, Heartbeat, Message
from autoglm_lab.edge.sync.operation import Entry, Version, check_key
from autoglm_lab.edge.sync.varint import ByteReader, varint
from autoglm_lab.edge.sync.version_vector import NOTHING, Dot, VersionVector

VERSION = 1
MOST_BYTES = 1 << 24  # of one message: a length above it is no message, and reserves no memory
HEARTBEAT, REQUEST, CHANGES, COPY = range(4)
BASE_DOT, DELETION, VALUE = range(3)


def pack(message: Message) -> bytes:
    """Pack a message. ValueError above 16 MiB."""
    data = b"".join(_pack(message))
    if len(data) > MOST_BYTES:
        raise ValueError(f"the message has {len(data):,} bytes, {MOST_BYTES:,} are the most; keep large values in files beside")
    return data


def _pack(message: Message) -> list[bytes]:
    if isinstance(message, Heartbeat):
        return [_head(HEARTBEAT, message.sender, message.vector), message.digest.to_bytes(8, "big")]
    if isinstance(message, ChangesRequest):
        return [_head(REQUEST, message.sender, message.vector)]
    if message.base:
        head = [_head(CHANGES, message.sender, message.end), _pack_rises(message.base, message.end)]
    else:
        head = [_head(COPY, message.sender, message.end), pack_vector(message.floor)]
    return [*head, varint(len(message.entries)), *(_pack_entry(entry, message.base, message.end) for entry in message.entries)]


def _head(kind: int, sender: int, vector: VersionVector) -> bytes:
    return bytes([VERSION << 4 | kind]) + varint(sender) + pack_vector(vector)


def pack_vector(vector: VersionVector) -> bytes:
    """Pack a vector: a count, and for each replica the gap to the one before and the counter."""
    parts, expected = [varint(len(vector.counters))], 0
    for replica, counter in vector.counters.items():
        parts.append(varint(replica - expected) + varint(counter))
        expected = replica + 1
    return b"".join(parts)


def _pack_rises(base: VersionVector, end: VersionVector) -> bytes:
    rises = [counter - base[replica] for replica, counter in end.counters.items()]
    mask = sum(1 << place for place, rise in enumerate(rises) if rise)
    return mask.to_bytes(_mask_bytes(end), "little") + b"".join(varint(rise) for rise in rises if rise)


def _mask_bytes(end: VersionVector) -> int:
    return (len(end.counters) + 7) // 8


def _pack_entry(entry: Entry, base: VersionVector, end: VersionVector) -> bytes:
    key, count = entry.key.encode(), len(entry.dots)
    parts = [(BASE_DOT, varint(dot.replica) + varint(dot.counter)) for dot in entry.base_dots]
    for version in entry.versions:
        place = varint(_place(version.dot, base, end))
        value = version.value
        parts.append((DELETION, place) if value is None else (VALUE + len(value), place + value))
    packed = [varint(2 * tag + (number < count)) + rest for number, (tag, rest) in enumerate(parts, 1)]
    return varint(len(key)) + key + b"".join(packed)


def _place(dot: Dot, base: VersionVector, end: VersionVector) -> int:
    before = sum(counter - base[replica] for replica, counter in end.counters.items() if replica < dot.replica)
    return before + end[dot.replica] - dot.counter


def _dot_at(place: int, base: VersionVector, end: VersionVector) -> Dot:
    for replica, counter in end.counters.items():
        if place < counter - base[replica]:
            return Dot(replica, counter - place)
        place -= counter - base[replica]
    raise ValueError(f"a write lies {place + 1} places beyond the writes from {base} to {end}; the message is damaged")


def unpack(data: bytes) -> Message:
    """Unpack a message. ValueError for one of another version or kind, or that is cut, damaged, or longer than it says."""
    if not 2 <= len(data) <= MOST_BYTES:
        raise ValueError(f"{len(data):,} bytes are no message; it has 2 to {MOST_BYTES:,}")
    if data[0] >> 4 != VERSION:
        raise ValueError(f"the message is of version {data[0] >> 4}, this program reads version {VERSION}; update the older device")
    reader = ByteReader(data[1:])
    message = _unpack(data[0] & 0x0F, reader)
    reader.end()
    return message


def _unpack(kind: int, reader: ByteReader) -> Message:
    sender, vector = reader.varint(), unpack_vector(reader)
    if kind == HEARTBEAT:
        return Heartbeat(sender, vector, int.from_bytes(reader.take(8), "big"))
    if kind == REQUEST:
        return ChangesRequest(sender, vector)
    if kind not in (CHANGES, COPY):
        raise ValueError(f"a message of kind {kind} is not known; there are 0 to {COPY}")
    base, floor = (_unpack_base(reader, vector), NOTHING) if kind == CHANGES else (NOTHING, unpack_vector(reader))
    entries = tuple(_unpack_entry(reader, base, vector) for _ in range(reader.varint()))  # a count that lies meets the end
    return Changes(sender, base, vector, entries, floor)


def unpack_vector(reader: ByteReader) -> VersionVector:
    """Unpack a vector. ValueError for one that cannot be."""
    counters, expected = dict[int, int](), 0
    for _ in range(reader.varint()):
        replica = expected + reader.varint()
        counters[replica], expected = reader.varint(), replica + 1
    return VersionVector(counters)


def _unpack_base(reader: ByteReader, end: VersionVector) -> VersionVector:
    mask = int.from_bytes(reader.take(_mask_bytes(end)), "little")
    if mask >> len(end.counters):
        raise ValueError(f"the mask {mask:b} has more digits than there are replicas, {len(end.counters)}")
    base = {r: counter - (_rise(reader) if mask >> place & 1 else 0) for place, (r, counter) in enumerate(end.counters.items())}
    if min(base.values(), default=0) < 0 or not any(base.values()):
        raise ValueError(f"the changes start before everything; their rises do not fit the end {end}")
    return VersionVector({replica: counter for replica, counter in base.items() if counter})


def _rise(reader: ByteReader) -> int:
    rise = reader.varint()
    if not rise:
        raise ValueError("a counter rises by nothing; only those that rise are in the mask")
    return rise


def _unpack_entry(reader: ByteReader, base: VersionVector, end: VersionVector) -> Entry:
    key, versions, base_dots, has_more = _unpack_key(reader), list[Version](), list[Dot](), 1
    while has_more:
        tag, has_more = divmod(reader.varint(), 2)
        if tag == BASE_DOT:
            base_dots.append(Dot(reader.varint(), reader.varint()))
        else:
            dot = _dot_at(reader.varint(), base, end)
            versions.append(Version(dot, None if tag == DELETION else reader.take(tag - VALUE)))
    return Entry(key, tuple(versions), tuple(base_dots))


def _unpack_key(reader: ByteReader) -> str:
    name = reader.take(reader.varint())
    try:
        return check_key(name.decode())
    except UnicodeDecodeError:
        raise ValueError(f"the key {name[:20]!r} is no UTF-8; the message is damaged") from None


def frame(data: bytes) -> bytes:
    """Put its length before a message, for a stream."""
    return varint(len(data)) + data


class FrameReader:
    """Cut a stream into messages. ValueError, for good, once a length is above the limit: nothing after it can be trusted."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take in what arrived; give the messages that are complete now."""
        self._buffer += chunk
        messages = []
        while (length := self._length()) is not None and len(self._buffer) >= sum(length):
            begin, count = length
            messages.append(bytes(self._buffer[begin : begin + count]))
            del self._buffer[: begin + count]
        return messages

    def _length(self) -> tuple[int, int] | None:
        """The bytes of the length at the front, and the length; None while it is not complete."""
        head = bytes(self._buffer[:9])
        if all(byte & 0x80 for byte in head) and len(head) < 9:
            return None
        reader = ByteReader(head)
        count = reader.varint()
        if count > self._most_bytes:
            raise ValueError(f"a message of {count:,} bytes is announced, {self._most_bytes:,} are the most; close the connection")
        return len(head) - reader.n_left, count
