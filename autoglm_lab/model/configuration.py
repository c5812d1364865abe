"""Configuration of PhoneGLM: its sizes."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import GlmConfig

from autoglm_lab.runtime.prompt import MAX_MEMORY


@strict
class PhoneGLMConfig(GlmConfig):
    """The sizes of a PhoneGLM: a GLM decoder, an image and a speech encoder, and the gates between them.

    `hidden_size` is also the width of the space that pictures, sound and text share.
    """

    model_type = "phone_glm"
    keys_to_ignore_at_inference = ["past_key_values", "memories"]  # noqa: RUF012  # the library's name for outputs that are no answer

    vocab_size: int = 3000
    hidden_size: int = 512
    intermediate_size: int = 768
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    num_key_value_heads: int | None = 2
    head_dim: int | None = 64
    max_position_embeddings: int = 1024
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    gated_layers: tuple[int, ...] | list[int] = (0, 2)  # decoder layers that are followed by gated cross-attention
    gated_heads: int = 2  # few and wide: a match has to stand out among 196 cells from the first step
    shared_start: bool = True  # start the gated layers in the shared space (False only to see what that is worth)
    image_size: int = 224  # pixels a side
    image_grid: int = 14  # cells a side that the image encoder gives
    image_channels: tuple[int, ...] | list[int] = (32, 48, 96, 192)  # one for each halving of the picture
    image_blocks: tuple[int, ...] | list[int] = (0, 0, 1, 1)  # residual blocks at each of these sizes
    image_wide_blocks: int = 2  # residual blocks of far reach after the last halving
    mel_bins: int = 80
    audio_channels: int = 256
    audio_blocks: int = 4  # dilated residual blocks at 25 frames a second
    first_number_id: int = 8  # token id of "0"; 0..999 follow in order
    number_tokens: int = 1000
    understands: bool = False  # commands are read once, and every step works by their goal (`runtime.understanding`)
    memory: int = 1  # past actions that the prompt names (`runtime.prompt.write_memory`)
    confirm_below: float = 0.0  # confidence in a command's goal (`runtime.confidence`) below which the agent asks back

    def validate_memory(self) -> None:
        """Raise ValueError unless the model reads 1 to 16 past actions."""
        if not 1 <= self.memory <= MAX_MEMORY:
            raise ValueError(f"memory is {self.memory}; a model reads 1 to {MAX_MEMORY} past actions")

    def validate_confirm_below(self) -> None:
        """Raise ValueError unless the confidence below which the agent asks back is one: from 0 (never) to 1."""
        if not 0 <= self.confirm_below <= 1:
            raise ValueError(f"confirm_below is {self.confirm_below}; a confidence is a number from 0 to 1")

    @property
    def image_cells(self) -> int:
        """Number of cells of the picture that the decoder can attend to."""
        return self.image_grid**2
