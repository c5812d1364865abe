"""The agent in modules that any runtime can compute: fixed lengths, plain operators, floats.

ONNX Runtime has an operator that attends and writes its cache in place, and lengths that change from call to call; most other
runtimes have neither. Here a step reads one token, the cache is an input of a fixed length, and what the token adds to it is an
output, which the host writes into its place (`runtime.host`). Attention over one token needs no repeated keys, rotating pairs of
channels is a product with a constant matrix, and places that hold nothing yet are covered by a mask.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.glm.modeling_glm import GlmRMSNorm

from autoglm_lab.compress.layers import put
from autoglm_lab.compress.quantization import PackedLayer
from autoglm_lab.export.graphs import SeenGraph, named_states
from autoglm_lab.export.module import onnx_module
from autoglm_lab.export.step import Norm
from autoglm_lab.model.encoders import moments
from autoglm_lab.model.fusion import GatedCrossAttention
from autoglm_lab.model.modeling import MODALITIES, PhoneGLMForConditionalGeneration
from autoglm_lab.runtime.host import COVERED

ROOM, MEL_FRAMES = 128, 400  # tokens that the cache holds, and hundredths of a second of sound
MASKS = ("every", "half", "quarter")  # inputs of the audio body, looked up
LOOKED_UP = ("hidden", "cos", "sin", "read", "heard", "image_present", "audio_present")  # inputs of the step's body, looked up


@dataclass(frozen=True)
class Part:
    """One of the modules: example inputs in the order of its arguments, and the names of its outputs."""

    module: nn.Module
    example: Mapping[str, Tensor]
    outputs: tuple[str, ...]

    def onnx(self) -> bytes:
        """Export as a file of ONNX's own operators, opset 20, nothing dynamic."""
        return onnx_module(self.module, self.example, outputs=self.outputs, check=False)  # `benchmarks.peers.compare` does

    def program(self) -> torch.export.ExportedProgram:
        """Export as a program for the runtimes that come from PyTorch."""
        return torch.export.export(self.module, tuple(self.example.values()))


def portable_parts(model: PhoneGLMForConditionalGeneration, *, room: int = ROOM, mel_frames: int = MEL_FRAMES) -> dict[str, Part]:
    """`image`, `audio` and `step` of an agent in floats; and `audio_body` and `step_body`, the last two without look-ups.

    Pruned and factorised agents are welcome.
    ValueError names a packed layer, whose integers no other runtime would read, and for lengths that make no sense.
    """
    packed = next((name for name, layer in model.named_modules() if isinstance(layer, PackedLayer)), None)
    if packed is not None:
        raise ValueError(f"layer {packed!r} holds packed integers; give the agent in floats: each runtime has its own quantiser")
    if not 1 <= room <= model.config.max_position_embeddings:
        raise ValueError(f"room is {room}; it is 1 to {model.config.max_position_embeddings} tokens")
    if mel_frames < 4 or mel_frames % 4:
        raise ValueError(f"mel_frames is {mel_frames}; it is a multiple of 4")
    plain = copy.deepcopy(model).train(False)
    for name, norm in list(plain.named_modules()):
        if isinstance(norm, GlmRMSNorm):
            put(plain, name, Norm(norm))
    for value in plain.parameters():
        value.data = value.data.clone()  # a slice of a larger matrix gets storage of its own
    config, rng = plain.config, torch.Generator().manual_seed(0)
    pixels = {"pixel_values": torch.rand(1, 3, config.image_size, config.image_size, generator=rng)}
    sound = {
        "input_features": torch.randn(1, mel_frames, config.mel_bins, generator=rng),
        "mel_frames": torch.tensor([mel_frames // 2], dtype=torch.int32),
    }
    hears, body = SoundBody(plain, mel_frames), StepBody(plain)
    hear, step = PortableSound(hears, mel_frames), PortableStep(body, room, mel_frames // 4)
    with torch.no_grad():
        image_states, audio_states = SeenGraph(plain)(**pixels), hear(**sound)
    image, audio = (
        named_states(kind, [state.contiguous() for state in states])
        for kind, states in (("image", image_states), ("audio", audio_states))
    )
    states = {**image, **audio, **step.cache()}
    token_inputs = {
        "token": torch.tensor([[10]], dtype=torch.int32),
        "place": torch.tensor([2], dtype=torch.int32),
        "present": torch.ones(2),
        "audio_frames": torch.tensor([mel_frames // 8], dtype=torch.int32),
    }
    with torch.no_grad():
        looked_up = dict(zip(LOOKED_UP, step.looked_up(*token_inputs.values()), strict=True))
        masks = dict(zip(MASKS, hear.masks(sound["mel_frames"]), strict=True))
    outputs = ("scores", *(name.replace("past", "new") for name in states if name.startswith("past")))
    return {
        "image": Part(SeenGraph(plain), pixels, tuple(image)),
        "audio": Part(hear, sound, tuple(audio)),
        "audio_body": Part(hears, {"input_features": sound["input_features"], **masks}, tuple(audio)),
        "step": Part(step, {**token_inputs, **states}, outputs),
        "step_body": Part(body, {**looked_up, **states}, outputs),
    }


class SoundBody(nn.Module):
    """Audio encoder without its masks, for runtimes that have floats only."""

    when: Tensor

    def __init__(self, model: PhoneGLMForConditionalGeneration, mel_frames: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("when", moments(torch.empty(1, mel_frames // 4, model.config.hidden_size)))

    def forward(
        self,
        input_features: Float[Tensor, "1 M 80"],
        every: Float[Tensor, "1 1 M"],
        half: Float[Tensor, "1 1 M/2"],
        quarter: Float[Tensor, "1 M/4 1"],
    ) -> tuple[Tensor, ...]:
        """Compute `PortableSound.forward`; the masks are 1 where there is sound, at the three rates at which the encoder works."""
        encoder = self.model.audio_encoder
        x = F.gelu(encoder.first(input_features.transpose(1, 2) * every)) * half
        x = F.gelu(encoder.second(x)).transpose(1, 2)
        for block in encoder.blocks:
            x = block(x, quarter)
        frames = encoder.norm(encoder.project(x)) + self.when
        everything, there = torch.ones_like(frames[..., 0], dtype=torch.bool), torch.ones_like(frames[:, 0, 0])
        memories = [layer.of("audio").remember(frames, everything, there) for layer in self.model.gated_layers()]
        return tuple(state for memory in memories for state in (memory.key, memory.value))


class PortableSound(nn.Module):
    """Log-mel frames of a fixed number, of which the first ones are sound, to the keys and values of every gated layer."""

    places: Tensor

    def __init__(self, body: SoundBody, mel_frames: int) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("places", torch.arange(mel_frames, dtype=torch.float32))

    def masks(self, mel_frames: Int[Tensor, " 1"]) -> tuple[Tensor, Tensor, Tensor]:
        """Masks (`MASKS`) [1, 1, M], [1, 1, M / 2], [1, M / 4, 1] of the body for a sound of so many frames."""
        count, places = mel_frames.float(), self.places
        every, half, quarter = ((places[: len(places) // step] * step < count).float() for step in (1, 2, 4))
        return every[None, None], half[None, None], quarter[None, :, None]

    def forward(self, input_features: Float[Tensor, "1 M 80"], mel_frames: Int[Tensor, " 1"]) -> tuple[Tensor, ...]:
        """Key and value [1, H, M / 4, E] of each gated layer; only the first ceil(mel_frames / 4) places mean anything."""
        states: tuple[Tensor, ...] = self.body(input_features, *self.masks(mel_frames))
        return states


class StepBody(nn.Module):
    """A step without its look-ups, for runtimes that have floats only: embedding, rotation and masks are inputs."""

    swap: Tensor

    def __init__(self, model: PhoneGLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = int(model.layers[0].get_submodule("self_attn").head_dim)  # type: ignore[arg-type]
        swap, first = torch.zeros(width, width), torch.arange(0, 2 * len(model.rotary_emb.inv_freq), 2)
        swap[first + 1, first], swap[first, first + 1] = -1.0, 1.0  # (a, b) @ swap = (-b, a)
        self.register_buffer("swap", swap)

    def forward(
        self,
        hidden: Float[Tensor, "1 1 D"],
        cos: Float[Tensor, "1 E"],
        sin: Float[Tensor, "1 E"],
        read: Float[Tensor, " L"],
        heard: Float[Tensor, " F"],
        image_present: Float[Tensor, " 1"],
        audio_present: Float[Tensor, " 1"],
        *states: Tensor,
    ) -> tuple[Tensor, ...]:
        """Compute `PortableStep.forward`; `read` and `heard` are added to the scores of places: 0, or `COVERED` where empty."""
        model, gated = self.model, self.model.gated_layers()
        each = 2 * len(gated)
        memories = {"image": (image_present, states[:each], None), "audio": (audio_present, states[each : 2 * each], heard)}
        cache, new_states = states[2 * each :], []
        for number, layer in enumerate(model.layers):
            self_attention = layer.get_submodule("self_attn")
            past_key, past_value = cache[2 * number : 2 * number + 2]
            normed = layer.get_submodule("input_layernorm")(hidden)
            attended, key, value = self._attend(self_attention, normed, past_key, past_value, (cos, sin), read)
            new_states += [key, value]
            hidden = hidden + attended
            hidden = hidden + layer.get_submodule("mlp")(layer.get_submodule("post_attention_layernorm")(hidden))
            if str(number) in model.gated:
                at = list(model.gated).index(str(number))
                for modality in MODALITIES:
                    present, parts, mask = memories[modality]
                    looked_key, looked_value = parts[2 * at : 2 * at + 2]
                    hidden = _look(gated[at].of(modality), hidden, present, looked_key, looked_value, mask)
        return (model.lm_head(model.norm(hidden)).reshape(1, -1), *new_states)

    def _turn(self, x: Float[Tensor, "1 N G E"], turn: tuple[Tensor, Tensor]) -> Float[Tensor, "1 N G E"]:
        """Rotate pairs of channels by the angle of the token's place (Su et al. 2021), those that turn at all."""
        return x * turn[0] + x @ self.swap * turn[1]

    def _attend(
        self,
        attention: nn.Module,
        x: Float[Tensor, "1 1 D"],
        keys: Float[Tensor, "1 K L E"],
        values: Float[Tensor, "1 K L E"],
        turn: tuple[Tensor, Tensor],
        mask: Float[Tensor, " L"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Self-attention of one token, in which G query heads share each of K keys and values."""
        heads, width = keys.shape[1], keys.shape[3]
        query = self._turn(attention.q_proj(x).reshape(1, heads, -1, width), turn)  # type: ignore[operator]
        key = self._turn(attention.k_proj(x).reshape(1, heads, 1, width), turn)  # type: ignore[operator]
        value = attention.v_proj(x).reshape(1, heads, 1, width)  # type: ignore[operator]
        query = query * width**-0.5
        before = query @ keys.transpose(2, 3) + mask
        own = (query * key).sum(-1, keepdim=True)  # no place of the cache is written before the token has looked
        attention_weights = torch.cat((before, own), -1).softmax(-1)
        context = attention_weights @ torch.cat((values, value), 2)
        return attention.o_proj(context.reshape(1, 1, -1)), key, value  # type: ignore[operator]


class PortableStep(nn.Module):
    """One token, its cache and the memories to the scores of the next one and what this one adds to the cache."""

    cos: Tensor
    sin: Tensor
    places: Tensor
    frames: Tensor

    def __init__(self, body: StepBody, room: int, audio_frames: int) -> None:
        super().__init__()
        self.body = body
        angles = torch.arange(room)[:, None] * body.model.rotary_emb.inv_freq
        angles = angles.repeat_interleave(2, -1)  # both channels of a pair turn by the same angle
        rest = len(body.swap) - angles.shape[1]  # channels that do not turn
        self.register_buffer("cos", torch.cat((angles.cos(), torch.ones(room, rest)), -1))
        self.register_buffer("sin", torch.cat((angles.sin(), torch.zeros(room, rest)), -1))
        self.register_buffer("places", torch.arange(room, dtype=torch.float32))
        self.register_buffer("frames", torch.arange(audio_frames, dtype=torch.float32))

    def cache(self) -> dict[str, Tensor]:
        """An empty cache [1, K, L, E] for each key and value."""
        room, tensors = len(self.places), {}
        for number, layer in enumerate(self.body.model.layers):
            attention = layer.get_submodule("self_attn")
            width = int(attention.head_dim)  # type: ignore[arg-type]
            for kind in ("key", "value"):
                outputs = int(attention.get_submodule(f"{kind[0]}_proj").weight.shape[0])  # type: ignore[index]
                tensors[f"past_{kind}_{number}"] = torch.zeros(1, outputs // width, room, width)
        return tensors

    def looked_up(
        self, token: Int[Tensor, "1 1"], place: Int[Tensor, " 1"], present: Float[Tensor, " 2"], audio_frames: Int[Tensor, " 1"]
    ) -> tuple[Tensor, ...]:
        """Inputs (`LOOKED_UP`) of the body for a token, in the shapes that its `forward` names."""
        return (
            self.body.model.embed(token),
            self.cos.index_select(0, place),
            self.sin.index_select(0, place),
            torch.where(self.places < place.float(), 0.0, COVERED),
            torch.where(self.frames < audio_frames.float(), 0.0, COVERED),
            present[0:1],
            present[1:2],
        )

    def forward(
        self,
        token: Int[Tensor, "1 1"],
        place: Int[Tensor, " 1"],
        present: Float[Tensor, " 2"],
        audio_frames: Int[Tensor, " 1"],
        *states: Tensor,
    ) -> tuple[Tensor, ...]:
        """Scores [1, V] of the token after this one, which stands at `place`, and its key and value [1, K, 1, E] in each layer.

        `present` says whether there is a picture and whether there is sound, `audio_frames` how many of the places of the sound
        are there; `states` are the memories of the picture, those of the sound, and the cache [1, K, L, E], layer by layer.
        """
        outputs: tuple[Tensor, ...] = self.body(*self.looked_up(token, place, present, audio_frames), *states)
        return outputs


def _look(
    part: GatedCrossAttention,
    hidden: Float[Tensor, "1 1 D"],
    present: Float[Tensor, " 1"],
    key: Float[Tensor, "1 H S E"],
    value: Float[Tensor, "1 H S E"],
    mask: Float[Tensor, " S"] | None,
) -> Float[Tensor, "1 1 D"]:
    """Gated cross-attention of one token, as in `model.fusion`."""
    heads, width = key.shape[1], key.shape[3]
    normed = part.query_norm(hidden)
    query = part.q_proj(normed).reshape(1, heads, 1, width) * width**-0.5
    scores = query @ key.transpose(2, 3)
    context = (scores if mask is None else scores + mask).softmax(-1) @ value
    attended: Tensor = part.o_proj(context.reshape(1, 1, -1))
    gate = torch.sigmoid(part.gate_proj(torch.cat((normed, attended), -1))) * present
    mixed: Tensor = hidden + gate * (attended - hidden)
    return mixed
