"""PhoneGLM: GLM decoder layers that look at a screen and listen to a command through gated cross-attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask
from transformers.models.glm.modeling_glm import GlmDecoderLayer, GlmRMSNorm, GlmRotaryEmbedding
from transformers.utils.generic import ModelOutput

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.encoders import AudioEncoder, ImageEncoder, grid_positions, moments, number_embeddings
from autoglm_lab.model.fusion import Fused, GatedCrossAttention, Memory

MODALITIES = (
    "audio",
    "image",
)  # the order in which a gated layer consults them: first what is wanted, then where it is
Memories = list[dict[str, Memory]]  # one entry per gated layer


@dataclass
class PhoneGLMOutput(ModelOutput):
    """Outputs of a forward pass. `gates` and `cross_attentions` have one dict per gated layer, by modality."""

    loss: Float[Tensor, ""] | None = None
    logits: Float[Tensor, "B T V"] | None = None
    past_key_values: Cache | None = None
    memories: Any = None
    gates: Any = None
    cross_attentions: Any = None
    attentions: Any = None
    hidden_states: Any = None


class GatedLayer(nn.ModuleDict):
    """One gated cross-attention for each modality."""

    def __init__(self, config: PhoneGLMConfig) -> None:
        parts = {m: GatedCrossAttention(config.hidden_size, config.gated_heads, config.rms_norm_eps) for m in MODALITIES}
        super().__init__(parts)

    def of(self, modality: str) -> GatedCrossAttention:
        """The gated cross-attention of "image" or "audio"."""
        part = self[modality]
        assert isinstance(part, GatedCrossAttention)
        return part


class PhoneGLMPreTrainedModel(PreTrainedModel):
    """Initialisation and loading shared by PhoneGLM classes."""

    config: PhoneGLMConfig
    config_class = PhoneGLMConfig
    base_model_prefix = "phone_glm"
    _no_split_modules = ["GlmDecoderLayer"]  # noqa: RUF012
    _supports_sdpa = True
    main_input_name = "input_ids"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.7)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, PhoneGLMForConditionalGeneration):
            # the library visits the outermost module last, and only modules that own parameters
            module.start_in_shared_space()
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]


class PhoneGLMForConditionalGeneration(PhoneGLMPreTrainedModel, GenerationMixin):
    """The whole agent: encoders, alignment space, gated GLM decoder and a head tied to the embeddings.

    The shared space is that of the token embeddings: an image cell that shows WeChat lies near the embedding of "WeChat".
    """

    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: PhoneGLMConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.image_encoder = ImageEncoder(config)
        self.audio_encoder = AudioEncoder(config)
        # where a cell is weighs as much as what it shows; it is added after what the alignment loss compares
        self.image_position = nn.Parameter(grid_positions(config.image_grid, width))
        self.layers = nn.ModuleList(GlmDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.gated = nn.ModuleDict({str(i): GatedLayer(config) for i in config.gated_layers})
        self.norm = GlmRMSNorm(width, config.rms_norm_eps)
        self.rotary_emb = GlmRotaryEmbedding(config)
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def start_in_shared_space(self) -> None:
        """Start the gates so that like finds like, and the numbers 0..999 as the places they name."""
        if self.config.shared_start:
            for gated in self.gated_layers():
                for modality in MODALITIES:
                    gated.of(modality).start_in_shared_space()
            for layer in self.layers:
                if isinstance(layer, GlmDecoderLayer):
                    _start_copying(layer, self.config)
        first, count = self.config.first_number_id, self.config.number_tokens
        if first + count <= self.config.vocab_size:
            places = number_embeddings(count, self.config.hidden_size)
            # neighbours would be all but equal: something of its own lets 5 be told from 6 where a number is not a place
            places = (places + 0.5 * torch.randn_like(places)) / math.sqrt(1.25 * self.config.hidden_size)
            self.embed_tokens.weight[first : first + count] = places.to(self.embed_tokens.weight)

    def gated_layers(self) -> list[GatedLayer]:
        """The gated layers in the order in which they are passed."""
        return [layer for layer in self.gated.values() if isinstance(layer, GatedLayer)]

    def layers_kept(self, keep: Sequence[int]) -> None:
        """Adjust the gated layers to a decoder of which only the layers `keep` stay: each goes to the last of them up to its own.

        Where several meet, the one whose own layer stays has precedence, then the first. ValueError if none is left.
        """
        by_place: dict[int, nn.Module] = {}
        for old, gated in self.gated.items():
            place = sum(layer <= int(old) for layer in keep) - 1
            if place >= 0 and (place not in by_place or int(old) in keep):
                by_place[place] = gated
        if not by_place:
            raise ValueError(f"none of the layers {list(keep)} stands before a gated one; the model would neither see nor hear")
        self.gated = nn.ModuleDict({str(place): layer for place, layer in by_place.items()})
        self.config.gated_layers = tuple(by_place)

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings, for the library."""
        return self.embed_tokens

    def embed(self, ids: Int[Tensor, "*B T"]) -> Float[Tensor, "*B T D"]:
        """Token embeddings with unit root mean square, the scale of everything in the shared space."""
        vectors: Tensor = self.embed_tokens(ids)
        return vectors * math.sqrt(self.config.hidden_size)

    def encode_image(self, pixel_values: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B P D"]:
        """Encode the screen: the content of each cell in the shared space, without its position."""
        cells: Tensor = self.image_encoder(pixel_values)
        return cells

    def encode_audio(
        self, input_features: Float[Tensor, "B M 80"], mask: Shaped[Tensor, "B M"] | None = None
    ) -> tuple[Float[Tensor, "B F D"], Bool[Tensor, "B F"]]:
        """Encode the sound: frames in the shared space, and which of them are not padding."""
        if mask is None:
            mask = torch.ones(input_features.shape[:2], dtype=torch.bool, device=input_features.device)
        frames, frame_mask = self.audio_encoder(input_features, mask.bool())
        return frames, frame_mask

    def remember(
        self,
        image: Float[Tensor, "N P D"] | None,
        audio: tuple[Float[Tensor, "A F D"], Bool[Tensor, "A F"]] | None,
        batch: int,
        image_present: Tensor | None = None,
        audio_present: Tensor | None = None,
    ) -> Memories:
        """Keys and values of both modalities for every gated layer, from what the encoders gave (None where absent).

        `image_present` and `audio_present` [B] are true where a row has the modality.
        """
        weight = self.image_position
        nothing = weight.new_zeros(batch, 1, weight.shape[-1])
        empty = (nothing, torch.zeros(batch, 1, dtype=torch.bool, device=weight.device), weight.new_zeros(batch))
        states = {"image": empty, "audio": empty}
        if image is not None:
            everywhere = torch.ones(image.shape[:2], dtype=torch.bool, device=weight.device)
            states["image"] = (
                image + self.image_position,
                everywhere,
                weight.new_ones(len(image)) if image_present is None else image_present,
            )
        if audio is not None:
            frames, mask = audio
            states["audio"] = (
                frames + moments(frames).to(frames),
                mask,
                weight.new_ones(len(frames)) if audio_present is None else audio_present,
            )
        return [{m: layer.of(m).remember(*states[m]) for m in MODALITIES} for layer in self.gated_layers()]

    def decode(
        self,
        input_ids: Int[Tensor, "B T"],
        memories: Memories,
        attention_mask: Int[Tensor, "B L"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool = False,
    ) -> tuple[list[Float[Tensor, "B T D"]], list[dict[str, Fused]]]:
        """The decoder without its head: hidden states after the embeddings and after each layer, and each gated layer's outputs."""
        hidden = self.embed(input_ids)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rotary = self.rotary_emb(hidden, position_ids=position_ids)
        gated: list[dict[str, Fused]] = []
        states = [hidden]
        for number, layer in enumerate(self.layers):
            hidden = layer(
                hidden,
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_embeddings=rotary,
            )
            if str(number) in self.gated:
                fused = {}
                for modality in MODALITIES:
                    if modality not in memories[len(gated)]:
                        continue  # no row has it: its gate would be zero everywhere
                    part = self.gated_layers()[len(gated)].of(modality)
                    fused[modality] = part(hidden, memories[len(gated)][modality], weights=output_attentions)
                    hidden = fused[modality].hidden
                gated.append(fused)
            states.append(hidden)
        return states, gated

    def head(self, hidden: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Logits of every token, from hidden states after the last layer."""
        scores: Tensor = self.lm_head(self.norm(hidden))
        return scores

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B L"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        pixel_values: Float[Tensor, "B 3 S S"] | None = None,
        input_features: Float[Tensor, "B M 80"] | None = None,
        feature_attention_mask: Tensor | None = None,
        image_present: Tensor | None = None,
        audio_present: Tensor | None = None,
        memories: Memories | None = None,
        past_key_values: Cache | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        use_cache: bool | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> PhoneGLMOutput:
        """Predict each next token. `memories` replaces pictures and sound that were encoded before.

        `feature_attention_mask` is [B, M], `image_present` and `audio_present` are [B]. Labels of -100 are ignored; label t is
        compared with the prediction made at t - 1.
        """
        if memories is None:
            image = None if pixel_values is None else self.encode_image(pixel_values)
            audio = None if input_features is None else self.encode_audio(input_features, feature_attention_mask)
            memories = self.remember(image, audio, input_ids.shape[0], image_present, audio_present)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        states, gated = self.decode(
            input_ids, memories, attention_mask, position_ids, past_key_values, use_cache, output_attentions
        )
        logits = self.head(states[-1][:, -logits_to_keep:] if logits_to_keep else states[-1])
        return PhoneGLMOutput(
            loss=None if labels is None else _next_token_loss(logits, labels),
            logits=logits,
            past_key_values=past_key_values,
            memories=memories,
            gates=tuple({m: fused[m].gate for m in MODALITIES} for fused in gated),
            cross_attentions=tuple({m: fused[m].weights for m in MODALITIES} for fused in gated) if output_attentions else None,
            hidden_states=tuple(states) if output_hidden_states else None,
        )

    def prepare_inputs_for_generation(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Prepare inputs as in every decoder, but encode pictures and sound for the first token only."""
        inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)  # type: ignore[misc]
        if inputs.get("memories") is not None:
            for name in ("pixel_values", "input_features", "feature_attention_mask"):
                inputs.pop(name, None)
        return inputs

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        return model_kwargs | {"memories": outputs.memories}


@torch.no_grad()
def _start_copying(layer: GlmDecoderLayer, config: PhoneGLMConfig) -> None:
    """Start self-attention as a copier: each group keeps some directions of the shared space and hands them on unchanged.

    With random value and output projections a name that is copied to another token no longer resembles itself, and finding
    its icon has to wait until that is learned. The feed-forward layer starts quietly for the same reason.
    """
    attention, width = layer.self_attn, config.head_dim or config.hidden_size // config.num_attention_heads
    groups = config.num_key_value_heads or config.num_attention_heads
    shared_by = config.num_attention_heads // groups
    directions = nn.init.orthogonal_(torch.empty(groups * width, config.hidden_size))
    attention.v_proj.weight.copy_(directions)
    back = directions.unflatten(0, (groups, width)).repeat_interleave(shared_by, 0).flatten(0, 1)  # [heads * width, D]
    attention.o_proj.weight.copy_(back.T * (2 / shared_by))
    layer.mlp.down_proj.weight.mul_(0.3)


def _next_token_loss(logits: Float[Tensor, "B T V"], labels: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
