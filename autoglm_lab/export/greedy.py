"""A whole greedy answer in one call: the step graph as the body of a loop, for hosts that are not Python."""

from __future__ import annotations

from typing import Any


def greedy_graph(step: bytes, end: int) -> bytes:
    """The step graph of a bundle inside a loop that picks the likeliest token until it is `end`.

    Inputs are those of the step, with `first_input_ids` the whole prompt [1, T], `first_total` its length [1], and in
    `first_past_...` a cache with room for prompt and answer; and `max_new_tokens`, a number. The output `tokens` [N] is the answer
    with its last token, which is `end` unless there was no room for it. Weights stand outside the loop, once. ValueError when the
    graph is no step.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(step)
    graph = model.graph
    inputs = {value.name: value for value in graph.input}
    if not {"input_ids", "present", "total", "places"} <= set(inputs) or "scores" not in {value.name for value in graph.output}:
        expected = "a step reads input_ids, present, total and places, and gives scores"
        raise ValueError(f"the graph has inputs {', '.join(inputs)}; {expected}")
    cache = [name for name in inputs if name.startswith("past")]
    carried = ["input_ids", "total", *cache]
    del inputs["places"]  # only the scores after the last token are needed

    def value(name: str, kind: int, shape: list[int | str]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def constant(name: str, kind: int, shape: list[int], numbers: list[int]) -> Any:
        return helper.make_tensor(name, kind, shape, numbers)

    # inside the loop the graph's own names stay as they are; outside each is called `first_...`
    body = helper.make_graph(
        [*graph.node, *_pick_token()],
        "one_token",
        [value("turn", TensorProto.INT64, []), value("goes", TensorProto.BOOL, []), *(inputs[name] for name in carried)],
        [
            value("goes_on_scalar", TensorProto.BOOL, []),
            value("next_ids", TensorProto.INT64, [1, 1]),
            value("next_total", TensorProto.INT32, [1]),
            *(value(name.replace("past", "present"), TensorProto.FLOAT, _shape(inputs[name])) for name in cache),
            value("token", TensorProto.INT64, []),
        ],
    )
    firsts = {name: f"first_{name}" for name in carried}
    outer = [*(_renamed(inputs[name], firsts.get(name, name)) for name in inputs), value("max_new_tokens", TensorProto.INT64, [])]
    loop = helper.make_node(
        "Loop", ["max_new_tokens", "true", *firsts.values()], [*(f"last_{name}" for name in carried), "tokens"], "answer", body=body
    )
    constants = [
        constant("one", TensorProto.INT32, [1], [1]),
        constant("end", TensorProto.INT64, [], [end]),
        constant("no_axes", TensorProto.INT64, [0], []),
        constant("true", TensorProto.BOOL, [], [True]),
        constant("places", TensorProto.INT64, [1], [-1]),
    ]
    loop_graph = helper.make_graph(
        [loop], "answer", outer, [value("tokens", TensorProto.INT64, ["said"])], [*graph.initializer, *constants]
    )
    whole = helper.make_model(loop_graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(whole.SerializeToString())


def _pick_token() -> list[Any]:
    """Nodes that pick the likeliest token after a step, and say whether the loop goes on."""
    from onnx.helper import make_node

    return [
        make_node("ArgMax", ["scores"], ["next_ids"], "loop/next", axis=1, keepdims=1),
        make_node("Add", ["total", "one"], ["next_total"], "loop/total"),
        make_node("Equal", ["next_ids", "end"], ["is_end"], "loop/is_end"),
        make_node("Not", ["is_end"], ["goes_on"], "loop/goes_on"),
        make_node("Reshape", ["goes_on", "no_axes"], ["goes_on_scalar"], "loop/goes_on_scalar"),
        make_node("Reshape", ["next_ids", "no_axes"], ["token"], "loop/token"),
    ]


def _shape(value: Any) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _renamed(value: Any, name: str) -> Any:
    import onnx

    copied = onnx.ValueInfoProto()
    copied.CopyFrom(value)
    copied.name = name
    return copied
