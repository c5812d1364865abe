"""Parts of a graph that run only when there is something for them to do: a request without sound does not listen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CONDITION = "/if_given"  # ends the names of nodes that are made here, after the module's own


def on_condition(graph: bytes, parts: Mapping[str, tuple[str, int]]) -> bytes:
    """Put whole modules of a graph under a condition: they run when one number of an input is above zero.

    `parts` names the input and the place in it for each module, by the path in the names of its nodes (`onnx_module`). A module
    ends in a sum whose first summand is its input; where the condition does not hold, the input is passed on as it came.
    ValueError for a module that the graph does not have, that does not end in a sum, or whose insides are read elsewhere.
    `always` undoes it.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(graph)
    zero = helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0])
    nodes, initializers = list(model.graph.node), [zero]
    for path, (source, place) in parts.items():
        inside = [node for node in nodes if node.name.startswith(f"{path}/") or node.name.startswith(f"{path}.")]
        if not inside:
            raise ValueError(f"no node of the graph is called by the module {path!r}")
        last = inside[-1]
        if last.op_type != "Add":
            raise ValueError(f"the module {path!r} ends in {last.op_type}; under a condition it has to end in a sum")
        own = {name for node in inside[:-1] for name in node.output}
        outside = {name for node in nodes if node not in inside for name in node.input} | {out.name for out in model.graph.output}
        if own & outside:
            raise ValueError(f"{sorted(own & outside)[0]} of the module {path!r} is read outside of it")
        index_name, value_name, condition_name = (f"{path}/{what}" for what in ("place", "given", "holds"))
        initializers.append(helper.make_tensor(index_name, TensorProto.INT64, [], [place]))
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
            helper.make_node("Gather", [source, index_name], [value_name], value_name),
            helper.make_node("Greater", [value_name, "nothing"], [condition_name], condition_name),
            helper.make_node("If", [condition_name], [result], path + CONDITION, **branches),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(initializers)
    del model.graph.value_info[:]  # names inside are no longer values of this graph; the runtime infers shapes
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def always(graph: bytes) -> bytes:
    """Undo `on_condition`: every module runs, and its inner values can be outputs again."""
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
