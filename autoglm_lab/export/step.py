"""One step of an answer as a graph: the decoder of `model.modeling` written out, so that few and large operators are left.

For one token the weights have to come from memory whatever is done; what can be saved is the hundreds of small operators
around them. Query, key and value are one product. Self-attention, with its rotation and its cache, is one operator of the
runtime's own (GroupQueryAttention), and so is what looks at a memory (MultiHeadAttention). Norms have the form that the runtime
replaces by one operator, shapes are constants, and what was not given, picture or sound, is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.models.glm.modeling_glm import GlmRMSNorm

from autoglm_lab.compress.layers import put
from autoglm_lab.export.quantized_layers import MICROSOFT, fuse_projections, node
from autoglm_lab.model.fusion import GatedCrossAttention
from autoglm_lab.model.modeling import MODALITIES, PhoneGLMForConditionalGeneration


class Norm(nn.Module):
    """Root mean square norm, in the form that ONNX Runtime computes with one operator: a quotient."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.eps = norm.get_parameter("weight"), float(norm.variance_epsilon)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "1 T D"]) -> Float[Tensor, "1 T D"]:
        """Normalise `x`; its shape stays."""
        normed: Tensor = x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight
        return normed


def replace_rms_norms(model: nn.Module) -> None:
    """Replace every norm of a model by its quotient, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, GlmRMSNorm):
            put(model, name, Norm(module))


class Look(nn.Module):
    """Gated cross-attention, as in `model.fusion`, of a request that has this modality."""

    def __init__(self, part: GatedCrossAttention) -> None:
        super().__init__()
        self.norm, self.q_proj, self.o_proj, self.gate_proj = part.query_norm, part.q_proj, part.o_proj, part.gate_proj

    def forward(
        self,
        hidden: Float[Tensor, "B T D"],
        key: Float[Tensor, "B H S E"],
        value: Float[Tensor, "B H S E"],
        bias: Float[Tensor, "B 1 1 S"] | None = None,
        presence: Float[Tensor, "B 1 1"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The new hidden states. The graph ends in a sum with `hidden`, which `conditions.on_condition` relies on.

        `bias` is added to the scores of places, and where `presence` is 0 nothing is looked at: requests of one batch may differ.
        """
        normed = self.norm(hidden)
        shape = (*normed.shape[:2], value.shape[1] * value.shape[3])
        inputs = (self.q_proj(normed), key, value) if bias is None else (self.q_proj(normed), key, value, None, None, bias)
        context = node(f"{MICROSOFT}MultiHeadAttention", inputs, normed.dtype, shape, num_heads=key.shape[1])
        attended: Tensor = self.o_proj(context)
        gate = torch.sigmoid(self.gate_proj(torch.cat((normed, attended), -1)))
        mixed: Tensor = hidden + (gate if presence is None else gate * presence) * (attended - hidden)
        return mixed


class StepGraph(nn.Module):
    """New tokens, the cache and the memories to the scores of the next token: prefill and decoding are the same graph."""

    cos: Tensor
    sin: Tensor

    def __init__(self, model: PhoneGLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        angles = torch.arange(model.config.max_position_embeddings)[:, None] * model.rotary_emb.inv_freq
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.looks = nn.ModuleList(nn.ModuleDict({m: Look(layer.of(m)) for m in MODALITIES}) for layer in model.gated_layers())
        attentions = [layer.get_submodule("self_attn") for layer in model.layers]
        self.qkv = nn.ModuleList(fuse_projections([part.q_proj, part.k_proj, part.v_proj]) for part in attentions)  # type: ignore[list-item]

    def forward(
        self,
        input_ids: Int[Tensor, "1 T"],
        present: Float[Tensor, " 2"],
        total: Int[Tensor, " 1"],
        places: Int[Tensor, " K"],
        *states: Tensor,
    ) -> tuple[Tensor, ...]:
        """Scores [K, V] of the tokens after those at `places`, and the cache with the keys and values of the new ones.

        `present` says whether there is a picture and whether there is sound: `conditions.on_condition` reads it. `total` is how
        many tokens there are with the new ones. A place is counted among the new tokens, from the front or, below zero, from
        behind: -1 asks what follows the last. `states` are the memories of the picture, those of the sound, and the cache, each
        layer by layer. The cache has room for more tokens than there are, so it can be written in place.
        """
        hidden, cache = self._read(input_ids, total - 1, total, states, dict.fromkeys(MODALITIES, ()))
        return (self.model.lm_head(self.model.norm(hidden[:, places]))[0], *cache)

    def _read(
        self,
        input_ids: Int[Tensor, "B T"],
        past: Int[Tensor, " B"],
        longest: Int[Tensor, " 1"],
        states: tuple[Tensor, ...],
        look_inputs: Mapping[str, tuple[Tensor | None, ...]],
    ) -> tuple[Float[Tensor, "B T D"], list[Tensor]]:
        """Hidden states after all layers, and the cache. `past` counts the tokens up to the last, `look_inputs` go to the looks."""
        model, each = self.model, 2 * len(self.looks)
        memories = {"image": states[:each], "audio": states[each : 2 * each]}
        cache, new_cache = states[2 * each :], []
        hidden = model.embed(input_ids)
        for number, layer in enumerate(model.layers):
            attention = layer.get_submodule("self_attn")
            qkv = self.qkv[number](layer.get_submodule("input_layernorm")(hidden))
            attended, *key_value = self._attend(attention, qkv, cache[2 * number : 2 * number + 2], past, longest)
            new_cache += key_value
            hidden = hidden + attended
            hidden = hidden + layer.get_submodule("mlp")(layer.get_submodule("post_attention_layernorm")(hidden))
            if str(number) in model.gated:
                place = list(model.gated).index(str(number))
                for modality in MODALITIES:
                    memory = memories[modality][2 * place : 2 * place + 2]
                    hidden = self.looks[place][modality](hidden, *memory, *look_inputs[modality])  # type: ignore[index]
        return hidden, new_cache

    def _attend(
        self,
        attention: nn.Module,
        qkv: Float[Tensor, "B T N"],
        cache: tuple[Tensor, ...],
        past: Int[Tensor, " B"],
        longest: Int[Tensor, " 1"],
    ) -> tuple[Tensor, ...]:
        """Self-attention in which G query heads share each of K keys and values, turned by their places in pairs of channels.

        `qkv` holds queries, keys and values of all heads one after the other, N = (G + 2) * K * width.
        """
        keys, shared, width = cache[0].shape[1], int(attention.num_key_value_groups), cache[0].shape[3]  # type: ignore[arg-type]
        context, *key_value = torch.onnx.ops.symbolic_multi_out(
            f"{MICROSOFT}GroupQueryAttention",
            (qkv, None, None, *cache, past, longest, self.cos, self.sin),
            {"num_heads": keys * shared, "kv_num_heads": keys, "do_rotary": 1, "rotary_interleaved": 1},
            dtypes=(qkv.dtype,) * 3,
            shapes=((*qkv.shape[:2], keys * shared * width), cache[0].shape, cache[1].shape),
            version=1,
        )
        return (attention.o_proj(context), *key_value)  # type: ignore[operator]


class RowsGraph(StepGraph):
    """One token of each of several answers, which share the reading of the weights: the graph of a server that batches."""

    def forward(  # type: ignore[override]
        self,
        input_ids: Int[Tensor, "B 1"],
        present: Float[Tensor, "B 2"],
        anywhere: Float[Tensor, " 2"],
        totals: Int[Tensor, " B"],
        longest: Int[Tensor, " 1"],
        covered: Float[Tensor, "B 1 1 F"],
        *states: Tensor,
    ) -> tuple[Tensor, ...]:
        """Scores [B, V] of each answer's next token, and the cache.

        As in `StepGraph`, with a row for each answer. `totals` counts tokens row by row, `longest` is the largest of them.
        `anywhere` says whether any row has a picture, and whether any has sound: `conditions.on_condition` reads it. Sounds of
        different lengths lie in places of one length; `covered` is added to the scores of these places.
        """
        has_image, has_audio = (present[:, place, None, None] for place in range(len(MODALITIES)))
        look_inputs = {"image": (None, has_image), "audio": (covered, has_audio)}
        hidden, cache = self._read(input_ids, totals - 1, longest, states, look_inputs)
        return (self.model.lm_head(self.model.norm(hidden))[:, 0], *cache)
