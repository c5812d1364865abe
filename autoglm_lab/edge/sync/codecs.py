"""The same messages in other formats, to compare their bytes: JSON, CBOR with names and without, protobuf, each with zlib."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from autoglm_lab.edge.sync.framing import pack
from autoglm_lab.edge.sync.message import Changes, ChangesRequest, Heartbeat, Message
from autoglm_lab.edge.sync.operation import Entry, Version
from autoglm_lab.edge.sync.version_vector import Dot, VersionVector

Plain = dict[str, Any]
TYPES = {Heartbeat: "heartbeat", ChangesRequest: "request", Changes: "changes"}


def plain(message: Message) -> Plain:
    """Turn a message into names and values, as programmers write it down."""
    common: Plain = {"type": TYPES[type(message)], "sender": message.sender}
    if isinstance(message, Heartbeat):
        return {**common, "vector": dict(message.vector.counters), "digest": message.digest}
    if isinstance(message, ChangesRequest):
        return {**common, "vector": dict(message.vector.counters)}
    vectors = {name: dict(vector.counters) for name in ("base", "end", "floor") if (vector := getattr(message, name))}
    return {**common, **vectors, "entries": [_plain_entry(entry) for entry in message.entries]}


def _plain_entry(entry: Entry) -> Plain:
    versions = [{"replica": v.dot.replica, "counter": v.dot.counter, "value": v.value} for v in entry.versions]
    base_dots = {"base_dots": [list(dot) for dot in entry.base_dots]} if entry.base_dots else {}
    return {"key": entry.key, "versions": versions, **base_dots}


def from_plain(values: Plain) -> Message:
    """Build a message from its names and values; texts become bytes, and names of replicas numbers: JSON has neither."""
    sender, kind = values["sender"], values["type"]
    if kind == "heartbeat":
        return Heartbeat(sender, _vector(values["vector"]), values["digest"])
    if kind == "request":
        return ChangesRequest(sender, _vector(values["vector"]))
    base, end, floor = (_vector(values.get(name, {})) for name in ("base", "end", "floor"))
    return Changes(sender, base, end, tuple(map(_entry, values["entries"])), floor)


def _vector(counters: Mapping[Any, int]) -> VersionVector:
    return VersionVector({int(replica): counter for replica, counter in counters.items()})


def _entry(values: Plain) -> Entry:
    versions = tuple(Version(Dot(each["replica"], each["counter"]), _bytes(each["value"])) for each in values["versions"])
    return Entry(values["key"], versions, tuple(Dot(*dot) for dot in values.get("base_dots", ())))


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def as_list(message: Message) -> list[Any]:
    """Turn a message into lists without names: everything has its place."""
    if not isinstance(message, Changes):
        digest = [message.digest] if isinstance(message, Heartbeat) else []
        return [len(digest), message.sender, _flat(message.vector), *digest]
    entries = [
        [entry.key, *([*version.dot, version.value] for version in entry.versions), *map(list, entry.base_dots)]
        for entry in message.entries
    ]
    return [2, message.sender, _flat(message.base), _flat(message.end), _flat(message.floor), entries]


def _flat(vector: VersionVector) -> list[int]:
    return [number for pair in vector.counters.items() for number in pair]


def rename_replicas(value: Any, names: Mapping[int, str]) -> Any:
    """Give the replicas in plain values long names."""
    if isinstance(value, dict):
        vectors = ("vector", "base", "end", "floor")
        return {
            key: {names[r]: n for r, n in inner.items()}
            if key in vectors
            else names[inner]
            if key in ("sender", "replica")
            else rename_replicas(inner, names)
            for key, inner in value.items()
        }
    return [rename_replicas(inner, names) for inner in value] if isinstance(value, list) else value


def as_json(values: Plain) -> bytes:
    """Encode as JSON without spaces; values are text."""
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, default=bytes.decode).encode()


def as_cbor(values: Any) -> bytes:
    """Encode as CBOR (RFC 8949). ImportError without cbor2."""
    try:
        from cbor2 import dumps
    except ImportError as error:
        raise ImportError("CBOR needs cbor2: pip install 'autoglm-lab[edge]'") from error
    return bytes(dumps(values))


_MESSAGES: dict[str, list[tuple[str, str, bool]]] = {  # name, type, repeated
    "Vector": [("replica", "uint32", True), ("counter", "uint64", True)],
    "Version": [("replica", "uint32", False), ("counter", "uint64", False), ("value", "bytes", False)],
    "Entry": [("key", "string", False), ("versions", "Version", True), ("base_dots", "Version", True)],
    "Message": [
        ("type", "uint32", False),
        ("sender", "uint32", False),
        ("vector", "Vector", False),
        ("digest", "fixed64", False),
        ("base", "Vector", False),
        ("floor", "Vector", False),
        ("entries", "Entry", True),
    ],
}


@cache
def protobuf_classes() -> dict[str, Any]:
    """Make the classes of the messages from a schema that is built here. ImportError without protobuf."""
    try:
        descriptors, pools, factory = (
            import_module(f"google.protobuf.{name}") for name in ("descriptor_pb2", "descriptor_pool", "message_factory")
        )
    except ImportError as error:
        raise ImportError("this comparison needs protobuf: pip install protobuf") from error
    kinds = descriptors.FieldDescriptorProto
    file = descriptors.FileDescriptorProto(name="sync.proto", package="sync", syntax="proto3")
    for message, fields in _MESSAGES.items():
        into = file.message_type.add(name=message)
        for number, (name, kind, is_repeated) in enumerate(fields, 1):
            is_message = kind in _MESSAGES
            field = into.field.add(name=name, number=number, label=kinds.LABEL_REPEATED if is_repeated else kinds.LABEL_OPTIONAL)
            field.type = kinds.TYPE_MESSAGE if is_message else getattr(kinds, f"TYPE_{kind.upper()}")
            if is_message:
                field.type_name = f".sync.{kind}"
    pool = pools.DescriptorPool()
    pool.Add(file)
    return {name: factory.GetMessageClass(pool.FindMessageTypeByName(f"sync.{name}")) for name in _MESSAGES}


def as_protobuf(message: Message) -> bytes:
    """Encode as protobuf, with packed vectors. ImportError without protobuf."""
    classes = protobuf_classes()

    def vector(each: VersionVector) -> Any:
        return classes["Vector"](replica=list(each.counters), counter=list(each.counters.values()))

    if not isinstance(message, Changes):
        digest = {"digest": message.digest} if isinstance(message, Heartbeat) else {}
        head = classes["Message"](type=len(digest), sender=message.sender, vector=vector(message.vector), **digest)
        return bytes(head.SerializeToString())
    entries = [
        classes["Entry"](
            key=entry.key,
            versions=[classes["Version"](replica=v.dot.replica, counter=v.dot.counter, value=v.value) for v in entry.versions],
            base_dots=[classes["Version"](replica=dot.replica, counter=dot.counter) for dot in entry.base_dots],
        )
        for entry in message.entries
    ]
    vectors = {name: vector(each) for name, each in (("base", message.base), ("floor", message.floor)) if each}
    whole = classes["Message"](type=2, sender=message.sender, vector=vector(message.end), entries=entries, **vectors)
    return bytes(whole.SerializeToString())


FORMATS: dict[str, Callable[[Message], bytes]] = {
    "JSON": lambda message: as_json(plain(message)),
    "CBOR, names": lambda message: as_cbor(plain(message)),
    "CBOR, lists": lambda message: as_cbor(as_list(message)),
    "protobuf": as_protobuf,
    "packed by hand": pack,
}


def sizes(message: Message) -> dict[str, dict[str, int]]:
    """Measure the bytes of a message in each format, as it is and after zlib at its best; without protobuf where it is missing."""
    rows = {}
    for name, encode in FORMATS.items():
        try:
            data = encode(message)
        except ImportError:
            if name != "protobuf":
                raise
        else:
            rows[name] = {"bytes": len(data), "zlib_bytes": len(zlib.compress(data, 9))}
    return rows
