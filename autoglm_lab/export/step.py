"""One step of an answer as a graph: the decoder of `model.modeling` written out, so that few and large operators are left.

For one token the weights have to come from memory whatever is done; what can be saved is the hundreds of small operators
around them. Rotation is two products instead of slices and stacks, query heads that share a key are rows of one matrix
product instead of copies of the key, norms have the form that the runtime replaces by one operator, and shapes are constants.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from autoglm_lab.export.integers import node
from autoglm_lab.model.fusion import GatedCrossAttention
from autoglm_lab.model.modeling import MODALITIES, PhoneGLMForConditionalGeneration

FAR = -1e9  # score of a token that is not there yet


def reshape(x: Tensor, places: tuple[int, ...], shape: tuple[object, ...]) -> Tensor:
    """`x` in another shape; `places` is what ONNX is told: 0 for a length as it was, -1 for what is left."""
    return node("Reshape", (x, torch.tensor(places)), x.dtype, shape)


class Norm(nn.Module):
    """Root mean square norm, in the form of a quotient."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.eps = norm.get_parameter("weight"), float(norm.variance_epsilon)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "1 T D"]) -> Float[Tensor, "1 T D"]:
        """The same shape as `x`."""
        normed: Tensor = x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight
        return normed


class Rotation(nn.Module):
    """GLM's rotary positions (Su et al. 2021): pairs of neighbouring channels, in the first part of each head only."""

    swap: Tensor
    frequency: Tensor

    def __init__(self, rotary: nn.Module, width: int) -> None:
        super().__init__()
        each = rotary.inv_freq.repeat_interleave(2)  # type: ignore[operator]
        swap = torch.zeros(width, width)
        for channel in range(0, len(each), 2):  # (a, b) becomes (-b, a)
            swap[channel + 1, channel], swap[channel, channel + 1] = -1, 1
        self.register_buffer("swap", swap)
        # channels that are not rotated turn with frequency 0
        self.register_buffer("frequency", torch.cat((each, torch.zeros(width - len(each)))))

    def angles(self, places: Int[Tensor, " T"]) -> tuple[Float[Tensor, "T 1 E"], Float[Tensor, "T 1 E"]]:
        """Cosine and sine of each channel's angle at each place."""
        angle = places.float()[:, None, None] * self.frequency
        return angle.cos(), angle.sin()

    def forward(self, x: Float[Tensor, "1 T H E"], cos: Tensor, sin: Tensor) -> Float[Tensor, "1 T H E"]:
        """The same shape as `x`."""
        return x * cos + (x @ self.swap) * sin


class StepGraph(nn.Module):
    """New tokens, and all that is remembered, to the scores of the next one: prefill and decoding are the same graph."""

    def __init__(self, model: PhoneGLMForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.width = model, int(model.config.head_dim or 0)
        self.rotation = Rotation(model.rotary_emb, self.width)
        self.before = nn.ModuleList(Norm(layer.input_layernorm) for layer in model.layers)  # type: ignore[arg-type]
        self.between = nn.ModuleList(Norm(layer.post_attention_layernorm) for layer in model.layers)  # type: ignore[arg-type]
        self.query_norms = nn.ModuleList(
            nn.ModuleDict({m: Norm(layer.of(m).query_norm) for m in MODALITIES}) for layer in model.gated_layers()
        )
        self.last = Norm(model.norm)

    def forward(self, input_ids: Int[Tensor, "1 T"], present: Float[Tensor, " 2"], *states: Tensor) -> tuple[Tensor, ...]:
        """Scores [1, V] of the token after the last, and the keys and values of all tokens.

        `present` says whether there is a picture and whether there is sound; `states` are the memories of the picture, those of
        the sound, and the keys and values of the tokens before, each layer by layer.
        """
        model, each = self.model, 2 * len(self.query_norms)
        memories = {"image": (present[0], states[:each]), "audio": (present[1], states[each : 2 * each])}
        past, kept = states[2 * each :], []
        count, old = input_ids.shape[1], past[0].shape[2]
        places = torch.arange(old, old + count)
        unseen = torch.where(torch.arange(old + count)[None] > places[:, None], FAR, 0.0)  # [T, L]
        cos, sin = self.rotation.angles(places)
        hidden = model.embed(input_ids)
        for number, layer in enumerate(model.layers):
            attention = layer.get_submodule("self_attn")
            old_ones = past[2 * number : 2 * number + 2]
            attended, keys_values = self._attend(attention, self.before[number](hidden), old_ones, unseen, cos, sin)
            kept += keys_values
            hidden = hidden + attended
            hidden = hidden + layer.get_submodule("mlp")(self.between[number](hidden))
            if str(number) in model.gated:
                place = list(model.gated).index(str(number))
                for modality in MODALITIES:
                    given, parts = memories[modality]
                    gated = model.gated_layers()[place].of(modality)
                    normed = self.query_norms[place][modality](hidden)  # type: ignore[index]
                    hidden = self._look(gated, hidden, normed, given, *parts[2 * place : 2 * place + 2])
        return (model.lm_head(self.last(hidden[:, -1:]))[:, 0], *kept)

    def _attend(
        self, attention: nn.Module, x: Float[Tensor, "1 T D"], past: tuple[Tensor, ...], unseen: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Float[Tensor, "1 T D"], list[Tensor]]:
        """Self-attention: G query heads look at each of K keys and values."""
        count, width, shared = x.shape[1], self.width, int(attention.num_key_value_groups)  # type: ignore[arg-type]
        keys = past[0].shape[1]
        query = reshape(attention.q_proj(x), (0, 0, -1, width), (1, count, keys * shared, width))  # type: ignore[operator]
        key = reshape(attention.k_proj(x), (0, 0, -1, width), (1, count, keys, width))  # type: ignore[operator]
        value = reshape(attention.v_proj(x), (0, 0, -1, width), (1, count, keys, width))  # type: ignore[operator]
        query = self.rotation(query, cos, sin) * width**-0.5
        key = torch.cat((past[0], self.rotation(key, cos, sin).transpose(1, 2)), 2)
        value = torch.cat((past[1], value.transpose(1, 2)), 2)
        heads = reshape(query.transpose(1, 2), (0, keys, -1, width), (1, keys, shared * count, width))  # rows of all G heads
        scores = heads @ key.transpose(2, 3) + unseen.repeat(shared, 1)
        found = scores.softmax(-1) @ value  # [1, K, G T, E]
        rows = reshape(found, (0, keys * shared, -1, width), (1, keys * shared, count, width)).transpose(1, 2)
        out: Tensor = attention.o_proj(reshape(rows, (0, 0, -1), (1, count, keys * shared * width)))  # type: ignore[operator]
        return out, [key, value]

    def _look(
        self, part: GatedCrossAttention, hidden: Float[Tensor, "1 T D"], normed: Float[Tensor, "1 T D"], given: Tensor,
        key: Float[Tensor, "1 H S E"], value: Float[Tensor, "1 H S E"],
    ) -> Float[Tensor, "1 T D"]:  # fmt: skip
        """Gated cross-attention, as in `model.fusion`."""
        count, heads, width = normed.shape[1], key.shape[1], key.shape[3]
        query = reshape(part.q_proj(normed), (0, 0, heads, -1), (1, count, heads, width)).transpose(1, 2) * width**-0.5
        found = ((query @ key.transpose(2, 3)).softmax(-1) @ value).transpose(1, 2)
        attended: Tensor = part.o_proj(reshape(found, (0, 0, -1), (1, count, heads * width)))
        gate = torch.sigmoid(part.gate_proj(torch.cat((normed, attended), -1))) * given
        mixed: Tensor = hidden + gate * (attended - hidden)
        return mixed
