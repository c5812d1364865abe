"""A profile added up by layers."""

import pytest

from autoglm_lab.cli import main
from autoglm_lab.evaluation.layers import BETWEEN, added_up, table


def node(name, ts, dur, kind="MatMul"):
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"op_name": kind}}


PROFILE = [
    {"cat": "Session", "name": "model_run", "ts": 0, "dur": 90},
    node("model.layers.0.mlp.up/a", 10, 5_000),
    {"cat": "Session", "name": "model_run", "ts": 100, "dur": 90},
    node("model.layers.0.mlp.up/a", 110, 1_000),
    node("model.layers.0.mlp.down/b", 120, 2_000),
    node("lm_head/c", 130, 4_000),
    node("/add", 140, 500),
    node("Transpose", 150, 250),
    node("looks.0.audio/if_given", 160, 9_000, "If"),
    {"cat": "Node", "name": "lm_head/c_fence_before", "ts": 130, "dur": 7, "args": {}},
]


def test_kernels_are_booked_under_their_modules():
    assert added_up(PROFILE, 1, 3) == {"lm_head": 4.0, "layers.0.mlp": 3.0, BETWEEN: 0.75}
    assert added_up(PROFILE, 1, 4)["layers.0.mlp.down"] == 2.0
    assert added_up(PROFILE, 0, 3)["layers.0.mlp"] == 8.0, "with the warm-up"
    assert added_up(PROFILE, 2, 3) == {}, "nothing but the warm-up"


def test_nodes_of_the_runtime_are_booked_under_what_makes_their_value():
    makers = {"relu": "model.stages.0.2/relu", "relu_1": "model.stages.1.2/relu_1"}
    profile = [
        {"name": "model_run", "ts": 0},
        node("relu_1_nchwc", 1, 1_000),
        node("relu_nchwc", 2, 2_000),
        node("relief", 3, 4_000),
    ]
    assert added_up(profile, 0, 2, makers) == {BETWEEN: 4.0, "stages.0": 2.0, "stages.1": 1.0}


def test_the_table_is_empty_without_times():
    assert table({"step": {}}) == ""


def test_layers_need_a_bundle_and_no_rival(tmp_path, capsys):
    assert main(["bench", "--layers"]) == 2
    assert "--layers needs --bundle" in capsys.readouterr().err
    assert main(["bench", "--layers", "--bundle", str(tmp_path), "--against", "generate"]) == 2
    assert "leave out --against" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bench", "--layers", "--rounds", "0"])
