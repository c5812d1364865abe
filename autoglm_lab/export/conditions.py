"""Parts of a graph that run only when there is something for them to do: a request without sound does not listen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CONDITION = "/if_given"  # how nodes that were made here are called, after their module


def on_condition(graph: bytes, parts: Mapping[str, tuple[str, int]]) -> bytes:
    """A graph in which whole modules stand under a condition: they run when one number of an input is above zero.

    `parts` names the input and the place in it for each module, by the path that its nodes are called by (`onnx_module`). A module
    ends in a sum whose first summand is what it was given; where the condition does not hold, that is passed on as it came.
    ValueError for a module that the graph does not have, that does not end in a sum, or whose insides are read elsewhere.
    `always` is the way back.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(graph)
    zero = helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0])
    nodes, known = list(model.graph.node), [zero]
    for path, (source, place) in parts.items():
        inside = [node for node in nodes if node.name.startswith(f"{path}/") or node.name.startswith(f"{path}.")]
        if not inside:
            raise ValueError(f"no node of the graph is called by the module {path!r}")
        last = inside[-1]
        if last.op_type != "Add":
            raise ValueError(f"the module {path!r} ends in {last.op_type}; under a condition it has to end in a sum")
        own = {name for node in inside[:-1] for name in node.output}
        read = {name for node in nodes if node not in inside for name in node.input} | {out.name for out in model.graph.output}
        if own & read:
            raise ValueError(f"{sorted(own & read)[0]} of the module {path!r} is read outside of it")
        chosen, asked, holds = (f"{path}/{what}" for what in ("place", "given", "holds"))
        known.append(helper.make_tensor(chosen, TensorProto.INT64, [], [place]))
        [result] = last.output
        runs, passes = f"{path}/sum", f"{path}/as_it_came"
        last.output[0] = runs
        branches = {
            "then_branch": helper.make_graph(inside, f"{path}/runs", [], [_any(runs)]),
            "else_branch": helper.make_graph(
                [helper.make_node("Identity", [last.input[0]], [passes], passes)], f"{path}/passes", [], [_any(passes)]
            ),
        }
        first = nodes.index(inside[0])
        nodes = [node for node in nodes if node not in inside]
        nodes[first:first] = [
            helper.make_node("Gather", [source, chosen], [asked], asked),
            helper.make_node("Greater", [asked, "nothing"], [holds], holds),
            helper.make_node("If", [holds], [result], path + CONDITION, **branches),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(known)
    del model.graph.value_info[:]  # names inside are no longer values of this graph; the runtime infers shapes
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def always(graph: bytes) -> bytes:
    """A graph of `on_condition` in which everything runs: its insides are values of the graph again, and can be asked for."""
    import onnx

    model = onnx.load_from_string(graph)
    nodes: list[Any] = []
    for node in model.graph.node:
        if not node.name.endswith(CONDITION):
            nodes.append(node)
            continue
        runs = next(attribute.g for attribute in node.attribute if attribute.name == "then_branch")
        runs.node[-1].output[0] = node.output[0]
        nodes += runs.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def every_node(graph: Any) -> Iterator[Any]:
    """The nodes of a graph, those under conditions and in loops included, in the order in which they would run."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from every_node(attribute.g)
        yield node


def _any(name: str) -> Any:
    """A value of floats of whatever shape."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
