"""Decode a batch in groups of rows of like length: short rows next to long ones are mostly padding.

The rows of a batch are 17 to 110 tokens long, and few have both a picture and a sound. In one rectangle more than half of all
places hold nothing; in groups, apart by what they see and hear, a training step does the same arithmetic on what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from autoglm_lab.model.fusion import Fused
from autoglm_lab.model.modeling import Memories, PhoneGLMForConditionalGeneration
from autoglm_lab.training.dataset import Batch

GROUP_TOKENS = 100  # places of padding that cost as much as one more call of the decoder


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Row numbers in groups of like length, short ones first: a group is cut in two where that saves more than a call costs.

    >>> length_groups([100, 3, 2, 4, 3])
    [[2, 1, 4, 3], [0]]
    >>> length_groups([4, 5])
    [[0, 1]]
    """
    rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return _cut(rows, lengths) if rows else []


def _cut(rows: list[int], lengths: Sequence[int]) -> list[list[int]]:
    """Sorted rows in as many groups as pay."""
    longest = lengths[rows[-1]]
    saved = {cut: cut * (longest - lengths[rows[cut - 1]]) for cut in range(1, len(rows))}
    best = max(saved, key=saved.__getitem__, default=0)
    if not best or saved[best] <= GROUP_TOKENS:
        return [rows]
    return _cut(rows[:best], lengths) + _cut(rows[best:], lengths)


def decode_in_groups(
    model: PhoneGLMForConditionalGeneration, batch: Batch, memories: Memories, *, all_looks: bool = False
) -> tuple[list[Float[Tensor, "B T D"]], list[dict[str, Fused]]]:
    """Decode the whole batch as `model.decode` does, with zeros where there is padding.

    `memories` are those of the pictures and clips, which each row finds through the batch. Of the attention only that of the last
    gated layer to the picture is kept, with `all_looks` that of every one.
    """
    lengths = batch.attention_mask.sum(1)
    sounds, pictures = batch.audio_present > 0, batch.image_present > 0
    parts: list[tuple[Tensor, list[Tensor], list[dict[str, Fused]]]] = []
    for heard, seen in product((False, True), repeat=2):
        mine = ((sounds == heard) & (pictures == seen)).nonzero().squeeze(1)
        for group in length_groups(lengths[mine].tolist()):
            rows = mine[group]
            longest = int(lengths[rows].max())
            own = spread_memories(memories, batch, rows, heard=heard, seen=seen)
            states, gated = model.decode(
                batch.inputs[rows, :longest], own, batch.attention_mask[rows, :longest], output_attentions=seen
            )
            parts.append((rows, states, gated))
    order = torch.cat([rows for rows, _, _ in parts]).argsort()
    longest = batch.ids.shape[1]

    def join(pieces: list[Tensor], axis: int) -> Tensor:
        return torch.cat([_padded(piece, axis, longest) for piece in pieces]).index_select(0, order)

    states = [join([part[1][number] for part in parts], 1) for number in range(len(parts[0][1]))]
    gated = []
    for number in range(len(memories)):
        fused = {}
        for modality in memories[number]:
            each = [part[2][number].get(modality) for part in parts]
            gate = join(
                [
                    piece.gate if piece is not None else rows.new_zeros((len(rows), 1), dtype=states[-1].dtype)
                    for piece, (rows, _, _) in zip(each, parts, strict=True)
                ],
                1,
            )
            looks = None
            if modality == "image" and (all_looks or number == len(memories) - 1):
                looks = _joined_looks([piece and piece.weights for piece in each], [rows for rows, _, _ in parts], join)
            fused[modality] = Fused(states[-1], gate, looks)
        gated.append(fused)
    return states, gated


def _joined_looks(
    each: list[Tensor | None], rows: list[Int[Tensor, " R"]], join: Callable[[list[Tensor], int], Tensor]
) -> Tensor | None:
    """The attention of all groups to the picture, zero for rows without one; None if no row has one."""
    example = next((piece for piece in each if piece is not None), None)
    if example is None:
        return None
    nothing = [example.new_zeros(len(own), example.shape[1], 1, example.shape[3]) for own in rows]
    return join([none if piece is None else piece for piece, none in zip(each, nothing, strict=True)], 2)


def spread_memories(
    memories: Memories, batch: Batch, rows: Int[Tensor, " R"], *, heard: bool = True, seen: bool = True
) -> Memories:
    """Give each of these rows the keys and values of its own picture and clip; none has one that is not `seen` or `heard`."""
    owner = {}
    if seen:
        owner["image"] = (batch.image_of[rows], batch.image_present[rows])
    if heard:
        owner["audio"] = (batch.audio_of[rows], batch.audio_present[rows])
    return [
        {
            m: layer[m]._replace(
                key=layer[m].key.index_select(0, own),
                value=layer[m].value.index_select(0, own),
                mask=layer[m].mask.index_select(0, own),
                present=present,
            )
            for m, (own, present) in owner.items()
        }
        for layer in memories
    ]


def _padded(piece: Tensor, axis: int, longest: int) -> Tensor:
    """Zeros at the end of one axis, up to a length."""
    missing = list(piece.shape)
    missing[axis] = longest - piece.shape[axis]
    return torch.cat((piece, piece.new_zeros(missing)), axis) if missing[axis] else piece


def copying_groups(mask: Bool[Tensor, "R T"] | Int[Tensor, "R T"]) -> list[tuple[Int[Tensor, " G"], int]]:
    """The rows of each group of a batch without picture or sound, and how long the longest of them is."""
    lengths = mask.sum(1)
    return [(torch.tensor(group), int(lengths[group].max())) for group in length_groups(lengths.tolist())]
