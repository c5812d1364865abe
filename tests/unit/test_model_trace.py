"""One answer taken apart: what is recorded is what the engine computed, for agents that understand commands first as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor
from autoglm_lab.model.trace import trace, trace_command
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, format_action

SCREEN = np.full((64, 32, 3), 90, np.uint8)
GOAL = format_action(Action("Goal", text="turn off Bluetooth"))


def tiny(understands: bool) -> TorchEngine:
    """An agent with weights of chance, the same ones whether it understands commands first or not."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "gated_layers": (0,), "audio_blocks": 1}
    config = PhoneGLMConfig(understands=understands, image_channels=(8, 8, 16, 16), audio_channels=16, **sizes)
    return TorchEngine(PhoneGLMForConditionalGeneration(config), PhoneGLMProcessor.from_pretrained(data_dir() / "model"))


def test_each_token_is_the_likeliest_and_has_its_gates() -> None:
    record = trace(tiny(False), "open Settings", SCREEN, max_new_tokens=6)
    assert [choices[0][0] for choices in record.alternatives] == record.tokens and len(record.tokens) == 6
    assert all(sum(share for _, share in choices) <= 1 for choices in record.alternatives)
    assert {name: gates.shape for name, gates in record.gates.items()} == {"image": (1, 6), "audio": (1, 6)}
    assert record.image_attention.shape == (1, 2, 6, 196)
    np.testing.assert_allclose(record.image_attention.sum(-1), 1, rtol=1e-4)
    assert record.mean_gates["image"] == pytest.approx(float(record.gates["image"].mean()))


def test_an_agent_that_understands_first_is_traced_by_its_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny(True)
    monkeypatch.setattr(engine, "read_command", lambda task, audio=None, watch=None: (GOAL, 1.0))
    sound = np.zeros(8000, np.float32)
    typed, spoken = trace(engine, "kill the blue", SCREEN, max_new_tokens=5), trace(engine, "", SCREEN, sound, max_new_tokens=5)
    plain = trace(tiny(False), "turn off Bluetooth", SCREEN, max_new_tokens=5)
    assert typed.answer.goal == spoken.answer.goal == "turn off Bluetooth"
    for record in (typed, spoken, trace(engine, "", SCREEN, goal="turn off Bluetooth", max_new_tokens=5)):
        assert record.tokens[:5] == plain.tokens[:5]
        np.testing.assert_allclose(record.gates["image"][:, :5], plain.gates["image"][:, :5], atol=1e-5)


def test_how_a_command_was_understood_is_recorded() -> None:
    engine, sound = tiny(True), np.random.default_rng(0).normal(size=8000).astype(np.float32)
    text, confidence = engine.read_command("", sound)
    record = trace_command(engine, "", sound)
    assert record.answer.text == text and "".join(record.tokens).strip() == text.strip()
    assert record.audio_attention.shape[-1] > 1 and 0 < confidence < 1
    assert trace_command(engine, "blue off").answer.text == engine.read_command("blue off")[0]
    with pytest.raises(ValueError, match="reads a command at each step"):
        trace_command(tiny(False), "blue off")
