"""One step of an answer as a graph: the decoder of `model.modeling` written out, so that few and large operators are left.

For one token the weights have to come from memory whatever is done; what can be saved is the hundreds of small operators
around them. Self-attention, with its rotation and its cache, is one operator of the runtime's own (GroupQueryAttention), norms
have the form that the runtime replaces by one operator, and shapes are constants.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from autoglm_lab.export.integers import MICROSOFT, node
from autoglm_lab.model.fusion import GatedCrossAttention
from autoglm_lab.model.modeling import MODALITIES, PhoneGLMForConditionalGeneration


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


class StepGraph(nn.Module):
    """New tokens, and all that is remembered, to the scores of the next one: prefill and decoding are the same graph."""

    cos: Tensor
    sin: Tensor

    def __init__(self, model: PhoneGLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        angles = torch.arange(model.config.max_position_embeddings)[:, None] * model.rotary_emb.inv_freq
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.before = nn.ModuleList(Norm(layer.input_layernorm) for layer in model.layers)  # type: ignore[arg-type]
        self.between = nn.ModuleList(Norm(layer.post_attention_layernorm) for layer in model.layers)  # type: ignore[arg-type]
        self.query_norms = nn.ModuleList(
            nn.ModuleDict({m: Norm(layer.of(m).query_norm) for m in MODALITIES}) for layer in model.gated_layers()
        )
        self.last = Norm(model.norm)

    def forward(
        self, input_ids: Int[Tensor, "1 T"], present: Float[Tensor, " 2"], total: Int[Tensor, " 1"], *states: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores [1, V] of the token after the last, and the cache with the keys and values of the new ones.

        `present` says whether there is a picture and whether there is sound, `total` how many tokens there are with the new
        ones; `states` are the memories of the picture, those of the sound, and the cache, each layer by layer. The cache has
        room for more tokens than there are, so it can be written in place.
        """
        model, each = self.model, 2 * len(self.query_norms)
        memories = {"image": (present[0], states[:each]), "audio": (present[1], states[each : 2 * each])}
        cache, kept = states[2 * each :], []
        hidden = model.embed(input_ids)
        for number, layer in enumerate(model.layers):
            attention = layer.get_submodule("self_attn")
            attended, *written = self._attend(attention, self.before[number](hidden), cache[2 * number : 2 * number + 2], total)
            kept += written
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
        self, attention: nn.Module, x: Float[Tensor, "1 T D"], cache: tuple[Tensor, ...], total: Int[Tensor, " 1"]
    ) -> tuple[Tensor, ...]:
        """Self-attention in which G query heads share each of K keys and values, turned by their places in pairs of channels."""
        keys, shared = cache[0].shape[1], int(attention.num_key_value_groups)  # type: ignore[arg-type]
        query, key, value = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)  # type: ignore[operator]
        found, *written = torch.onnx.ops.symbolic_multi_out(
            f"{MICROSOFT}GroupQueryAttention",
            (query, key, value, *cache, total - 1, total, self.cos, self.sin),
            {"num_heads": keys * shared, "kv_num_heads": keys, "do_rotary": 1, "rotary_interleaved": 1},
            dtypes=(query.dtype,) * 3,
            shapes=(query.shape, cache[0].shape, cache[1].shape),
            version=1,
        )
        return (attention.o_proj(found), *written)  # type: ignore[operator]

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
