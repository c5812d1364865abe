"""Losses of PhoneGLM: the alignment of pictures and words with text, then the answers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers.models.glm.modeling_glm import apply_rotary_pos_emb

from autoglm_lab.compress.distillation import feature_distance, kl_divergence
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.fusion import Fused
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.phone.catalog import LANGS
from autoglm_lab.training.copy_task import Copying
from autoglm_lab.training.dataset import Batch, Concepts
from autoglm_lab.training.length_groups import copying_groups, decode_in_groups

TEMPERATURE = 0.07
NOISE_PRICE = 25.0  # times the covariance of gate and noise
QUOTE_WEIGHT = 0.3  # of looking at the token that is to be copied
PLACE_SIGMA = 8.0  # coordinates: how far (in thousandths) a prediction may be off and still earn most of the credit


@dataclass
class Losses:
    """The parts of one step's loss, and the shares that were right."""

    image: Tensor
    audio: Tensor
    answer: Tensor
    gate: Tensor
    point: Tensor
    switch: Tensor
    copy: Tensor
    soft: Tensor
    thoughts: Tensor
    phonemes: Tensor
    image_right: float = 0.0
    audio_right: float = 0.0
    token_right: float = 0.0
    answer_right: float = 0.0
    point_right: float = 0.0
    switch_right: float = 0.0

    def total(self, *, align: float, point: float, gate: float, spell: float = 0.0) -> Tensor:
        """Scalar to be minimised: answers and copying, and with these weights alignment, looks, open gates and phonemes."""
        aligned = align * (self.image + self.switch + self.audio)
        return aligned + self.answer + self.copy + point * self.point + gate * self.gate + spell * self.phonemes


def align_image(
    cells: Float[Tensor, "N P D"],
    labels: Int[Tensor, "C 3"],
    names: Float[Tensor, "V D"],
    concept: Int[Tensor, " V"],
    lang: Int[Tensor, " V"],
) -> tuple[Tensor, float]:
    """Contrast each labelled cell with the names of all things (InfoNCE; van den Oord et al. 2018), in each language apart.

    The loss is a scalar. If either language would do, a cell would settle for one of its two names and never be found by the other.
    """
    if not len(labels):
        return cells.sum() * 0, 0.0
    embedded = F.normalize(cells[labels[:, 0], labels[:, 1]].float(), dim=-1)
    losses, rights = [], []
    for number in range(len(LANGS)):
        mine = lang == number
        scores = embedded @ names[mine].T / TEMPERATURE
        target = (concept[mine][None] == labels[:, 2:]).int().argmax(1)
        losses.append(F.cross_entropy(scores.float(), target))
        rights.append(float((scores.argmax(1) == target).float().mean()))
    return sum(losses, start=torch.zeros(())) / len(LANGS), sum(rights) / len(LANGS)


def align_switches(
    cells: Float[Tensor, "N P D"], labels: Int[Tensor, "S 3"], states: Float[Tensor, "2 L D"]
) -> tuple[Tensor, float]:
    """The loss is a scalar: a switch's cell has to resemble the word for on or the word for off, in each language."""
    if not len(labels):
        return cells.sum() * 0, 0.0
    embedded = F.normalize(cells[labels[:, 0], labels[:, 1]].float(), dim=-1)
    scores = torch.einsum("sd,old->slo", embedded, F.normalize(states.float(), dim=-1)) / TEMPERATURE
    target = labels[:, 2:].expand(scores.shape[:2])
    return F.cross_entropy(scores.flatten(0, 1), target.flatten()), float((scores.argmax(-1) == target).float().mean())


def align_audio(
    frames: Float[Tensor, "A F D"],
    mask: Tensor,
    labels: Int[Tensor, "W 3"],
    names: Float[Tensor, "V D"],
    concept: Int[Tensor, " V"],
    lang: Int[Tensor, " V"],
) -> tuple[Tensor, float]:
    """Some moment of a clip has to resemble each thing it names, more than any resembles what it does not: a scalar."""
    if not len(labels):
        return frames.sum() * 0, 0.0
    similar = F.normalize(frames.float(), dim=-1) @ names.T / TEMPERATURE  # [A, F, V]
    best = similar.masked_fill(~mask[..., None], float("-inf")).logsumexp(1) - mask.sum(1, keepdim=True).log()  # [A, V]
    named = torch.zeros_like(best, dtype=torch.bool)
    column = (concept[None] == labels[:, 1:2]) & (lang[None] == labels[:, 2:])  # [W, V] one true in each row
    named.index_put_((labels[:, 0], column.int().argmax(1)), torch.tensor(True, device=labels.device))
    others = best.masked_fill(named, float("-inf"))[labels[:, 0]]
    positive = best[labels[:, 0]][column]
    loss = torch.logaddexp(others.logsumexp(1), positive) - positive
    return loss.mean(), float((positive > others.amax(1)).float().mean())


def phoneme_loss(logits: Float[Tensor, "A F S"], mask: Bool[Tensor, "A F"], batch: Batch) -> Tensor:
    """A scalar, per phoneme: what is said can be read from the frames in its order (CTC; Graves et al. 2006).

    `logits` are those of no phoneme (0) and of each. Clips of which it is not known what they say do not count, nor those that are
    said faster than there are frames.
    """
    clear = batch.phoneme_counts > 0
    if not clear.any():
        return logits.sum() * 0
    scores = logits[clear].float().log_softmax(-1).transpose(0, 1)
    counts = batch.phoneme_counts[clear]
    return F.ctc_loss(scores, batch.phonemes[clear], mask[clear].sum(1), counts, zero_infinity=True)


def answer_logits(model: PhoneGLMForConditionalGeneration, hidden: Float[Tensor, "B T D"], batch: Batch) -> Float[Tensor, "N V"]:
    """The scores with which a model would write each of the N answer tokens."""
    return model.head(hidden[:, :-1][batch.answer[:, 1:]]).float()


def answer_loss(logits: Float[Tensor, "N V"], config: PhoneGLMConfig, batch: Batch) -> tuple[Tensor, float, float]:
    """Cross-entropy (a scalar) of answer tokens; coordinates earn credit for being near. Also the shares that were right."""
    is_answer = batch.answer[:, 1:]
    target, place = batch.ids[:, 1:][is_answer], batch.place[:, 1:][is_answer]
    losses = F.cross_entropy(logits, target, reduction="none")
    first, count = config.first_number_id, config.number_tokens
    if place.any():
        spread = torch.arange(count, device=target.device)[None] - (target[place] - first)[:, None]
        credit = torch.exp(-0.5 * (spread / PLACE_SIGMA) ** 2)
        credit = credit / credit.sum(1, keepdim=True)
        log_probability = logits[place].log_softmax(-1)[:, first : first + count]
        entropy = -(credit * credit.clamp_min(1e-12).log()).sum(1)
        losses = losses.masked_scatter(place, -(credit * log_probability).sum(1) - entropy)
    with torch.no_grad():
        guess = logits.argmax(-1)
        near = place & ((guess - target).abs() <= 2 * PLACE_SIGMA)
        right = (guess == target) | near
        all_right = torch.ones_like(is_answer).masked_scatter(is_answer, right).all(1)
    return losses.mean(), float(right.float().mean()), float(all_right.float().mean())


def step_losses(
    model: PhoneGLMForConditionalGeneration,
    batch: Batch,
    concepts: Concepts,
    *,
    align_only: bool = False,
    teacher: PhoneGLMForConditionalGeneration | None = None,
    thoughts: bool = False,
    all_look: bool = False,
    price_prompt: bool = False,
    speller: torch.nn.Module | None = None,
) -> Losses:
    """All losses of one batch. Pictures and clips are encoded once and used by every sample that refers to them.

    With a `teacher`, `soft` is the divergence of its scores from the model's; `thoughts` asks for the distance of what the two
    see, hear and think as well: cells, frames, and hidden states. With `all_look` every gated layer learns where to look, not the
    last alone; `price_prompt` makes gates cost while the prompt is read, too. A `speller` reads phonemes from the frames of sound.
    """
    pixels = batch.pixels.float() / 255
    names = concepts.embed(model.embed_tokens.weight)
    cells = model.encode_image(pixels)
    frames, mask = model.encode_audio(batch.mel, batch.mel_mask)
    image, image_right = align_image(cells, batch.cells, names, concepts.concept, concepts.lang)
    audio, audio_right = align_audio(frames, mask, batch.words, names, concepts.concept, concepts.lang)
    switch, switch_right = align_switches(cells, batch.switches, model.embed_tokens(concepts.states))
    zero = torch.zeros(())
    spelling = zero if speller is None else phoneme_loss(speller(frames), mask, batch)
    copy = zero if batch.copying is None else copy_loss(model, batch.copying)  # (with what `quote_loss` adds below)
    if align_only:
        return Losses(
            image, audio, zero, zero, zero, switch, copy, zero, zero, spelling, image_right, audio_right, switch_right=switch_right
        )
    memories = model.remember(cells, (frames, mask), len(batch.ids))
    states, gated = decode_in_groups(model, batch, memories, all_looks=all_look)
    copy = copy + QUOTE_WEIGHT * quote_loss(model, states, batch)
    logits = answer_logits(model, states[-1], batch)
    answer, token_right, answer_right = answer_loss(logits, model.config, batch)
    soft = apart = zero
    if teacher is not None:
        theirs = teacher_outputs(teacher, batch)
        soft = kl_divergence(logits, theirs.logits)
        if thoughts:
            apart = distance_of_thoughts((cells, frames, mask), states[1:], theirs, batch)
    gate = _gate_costs(gated, batch, price_prompt)
    looks = [point_loss(fused["image"].weights, batch) for fused in (gated if all_look else gated[-1:])]
    point, point_right = sum((loss for loss, _ in looks), start=zero), looks[-1][1]
    rights = (image_right, audio_right, token_right, answer_right, point_right, switch_right)
    return Losses(image, audio, answer, gate, point, switch, copy, soft, apart, spelling, *rights)


def _gate_costs(gated: Sequence[dict[str, Fused]], batch: Batch, price_prompt: bool) -> Tensor:
    """Sum of `price_of_gates` over gated layers and modalities."""
    noise = {"image": batch.image_noise, "audio": batch.audio_noise}
    read = batch.attention_mask.bool() & ~batch.answer if price_prompt else None
    costs = [price_of_gates(part.gate, batch.answer, noise[m], read) for fused in gated for m, part in fused.items()]
    return sum(costs, start=torch.zeros(()))


def distance_of_thoughts(
    senses: tuple[Tensor, Tensor, Tensor], states: Sequence[Tensor], theirs: TeacherOutputs, batch: Batch
) -> Tensor:
    """Distance of cells, frames and hidden states from the teacher's.

    A student of fewer layers is asked for the last states alone: in between it has to go ways of its own.
    """
    (cells, frames, mask), is_text = senses, batch.attention_mask.bool()
    last = len(theirs.states) if len(states) == len(theirs.states) else 1
    pairs = [(cells, theirs.cells)]
    pairs += [(mine[is_text], right[is_text]) for mine, right in zip(states[-last:], theirs.states[-last:], strict=True)]
    if batch.audio_present.any():
        pairs.append((frames[mask], theirs.frames[mask]))
    return feature_distance(*zip(*pairs, strict=True))


class TeacherOutputs(NamedTuple):
    """Outputs of a teacher for a batch: cells, frames, hidden states and logits."""

    cells: Float[Tensor, "I P D"]
    frames: Float[Tensor, "A F D"]
    states: list[Float[Tensor, "B T D"]]  # after each layer
    logits: Float[Tensor, "N V"]


@torch.no_grad()
def teacher_outputs(teacher: PhoneGLMForConditionalGeneration, batch: Batch) -> TeacherOutputs:
    """A batch in a teacher's words."""
    cells = teacher.encode_image(batch.pixels.float() / 255)
    frames, mask = teacher.encode_audio(batch.mel, batch.mel_mask)
    states, _ = decode_in_groups(teacher, batch, teacher.remember(cells, (frames, mask), len(batch.ids)))
    return TeacherOutputs(cells, frames, states[1:], answer_logits(teacher, states[-1], batch))


def copy_loss(model: PhoneGLMForConditionalGeneration, practice: Copying) -> Tensor:
    """Cross-entropy, a scalar, of the phrases that are copied, with nothing to see or hear."""
    losses = []
    for rows, longest in copying_groups(practice.attention_mask):
        ids, copied = practice.ids[rows, :longest], practice.copied[rows, :longest]
        states, _ = model.decode(ids, [{} for _ in model.gated_layers()], practice.attention_mask[rows, :longest])
        is_copy = copied[:, 1:]
        losses.append(F.cross_entropy(model.head(states[-1][:, :-1][is_copy]).float(), ids[:, 1:][is_copy], reduction="sum"))
    return sum(losses, start=torch.zeros(())) / practice.copied[:, 1:].sum()


def quote_loss(model: PhoneGLMForConditionalGeneration, states: Sequence[Float[Tensor, "B T D"]], batch: Batch) -> Tensor:
    """Heads of self-attention should look at the token that is to be copied next; `states` are those that each layer reads.

    In the second layer two heads find what stood behind the token that was written last, for which the first layer has to tell each
    token what stands before it (induction heads; Olsson et al. 2022): by answers alone they come late, and all at once. Where a
    quotation begins is known only deeper down, so two heads of the last layer look for every token of it.
    """
    source = batch.source
    goes_on = torch.zeros_like(source, dtype=torch.bool)
    goes_on[:, 1:] = (source[:, 1:] >= 0) & (source[:, 1:] == source[:, :-1] + 1)
    last = len(model.layers) - 1
    parts = ((min(1, last), goes_on), (last, source >= 0))
    losses = [_looks_apart(model, number, states[number], torch.where(mine, source, -1)) for number, mine in parts]
    return torch.stack(losses).sum()


def _looks_apart(
    model: PhoneGLMForConditionalGeneration, number: int, hidden: Float[Tensor, "B T D"], source: Int[Tensor, "B T"]
) -> Tensor:
    """Cross-entropy between the attention of two heads of a layer, of its last group, and `source`, at each copied token."""
    places = source[:, 1:]
    rows = (places >= 0).any(1).nonzero().squeeze(1)
    if not len(rows):
        return hidden.sum() * 0
    layer: Any = model.layers[number]
    config = model.config
    x = layer.input_layernorm(hidden[rows])
    attention, width = layer.self_attn, layer.self_attn.head_dim
    groups = config.num_key_value_heads or config.num_attention_heads
    first = (groups - 1) * (config.num_attention_heads // groups)
    query = attention.q_proj(x).unflatten(-1, (config.num_attention_heads, width))[:, :, first : first + 2].transpose(1, 2)
    key = attention.k_proj(x).unflatten(-1, (groups, width))[:, :, -1:].transpose(1, 2)
    cos, sin = model.rotary_emb(x, position_ids=torch.arange(x.shape[1], device=x.device)[None])
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    scores = (query @ key.transpose(-1, -2) * attention.scaling).float()  # [R, 2, T, T]
    ahead = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
    looks = scores.masked_fill(ahead, float("-inf")).log_softmax(-1)[:, :, :-1]
    target = places[rows]
    log_probability = looks.gather(-1, target.clamp_min(0)[:, None, :, None].expand(-1, query.shape[1], -1, 1)).squeeze(-1)
    apart: Tensor = -log_probability.transpose(1, 2)[target >= 0].mean()
    return apart


def price_of_gates(
    gate: Float[Tensor, "B T"], answer: Bool[Tensor, "B T"], noise: Float[Tensor, " B"], read: Bool[Tensor, "B T"] | None = None
) -> Tensor:
    """A scalar: the mean gate over answer tokens, and `NOISE_PRICE` times the covariance of gate and noise where tokens are chosen.

    With `read`, the tokens of the prompts, gates that stand open there cost as much.

    Only requests that have the modality count (elsewhere the gate is exactly 0). The covariance makes it worth being more
    open to what is clean than to what is spoilt; a token is chosen one place before it stands.
    """
    has, deciding = gate.gt(0), answer[:, 1:] & gate[:, :-1].gt(0)
    if not deciding.any():
        return gate.sum() * 0
    excess = noise - noise[deciding.any(1)].mean()
    prompt = gate[read & has].mean() if read is not None and (read & has).any() else gate.sum() * 0
    return gate[answer & has].mean() + prompt + NOISE_PRICE * (gate[:, :-1] * excess[:, None])[deciding].mean()


def point_loss(weights: Float[Tensor, "B H T P"] | None, batch: Batch) -> tuple[Tensor, float]:
    """While an answer is written, the last gated layer should look at the cell that decides it (`scenes.evidence`)."""
    cells = batch.cell[:, 1:]
    has_cell = cells >= 0
    if weights is None or not has_cell.any():
        return torch.zeros(()), 0.0
    looks = weights.float().mean(1)[:, :-1][has_cell]  # [tokens, P]
    target = cells[has_cell]
    on_target = looks.gather(1, target[:, None]).squeeze(1)
    return -on_target.clamp_min(1e-6).log().mean(), float((looks.argmax(1) == target).float().mean())
