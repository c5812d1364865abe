"""Openness of the gates, in words and as a picture. Numpy and Pillow only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from autoglm_lab.phone.draw import Colour, font
from autoglm_lab.phone.filmstrip import wrap

# Told apart by colour-blind eyes, and at least 3 : 1 against a white and a black page.
COLOURS: tuple[Colour, ...] = ((59, 130, 196), (201, 111, 10), (31, 158, 137), (144, 103, 198))
INK, SOFT, TRACK = (28, 30, 36), (104, 108, 118), (233, 235, 240)


@dataclass(frozen=True)
class GateView:
    """An answer: per modality one gate in [0, 1] for each token, None where it was not listened or looked to; screen and text."""

    tokens: list[str]
    gates: dict[str, list[float | None]]
    screenshot: Image.Image = field(repr=False)
    answer: str = ""

    def __post_init__(self) -> None:
        if not self.tokens or not self.gates:
            raise ValueError(f"a view needs tokens and gates, got {len(self.tokens)} tokens and {len(self.gates)} modalities")
        for modality, values in self.gates.items():
            if (shape := list(np.array(values, object).shape)) != [len(self.tokens)]:
                raise ValueError(f"gates[{modality!r}] has shape {shape}; {len(self.tokens)} tokens need [{len(self.tokens)}]")
            if any(value is not None and not 0 <= value <= 1 for value in values):
                raise ValueError(f"gates[{modality!r}] has to be finite and between 0 and 1")

    @property
    def means(self) -> dict[str, float]:
        """The mean gate of each modality over the tokens at which it has one; none for a modality without."""
        numbers = {modality: [v for v in values if v is not None] for modality, values in self.gates.items()}
        return {modality: float(np.mean(values)) for modality, values in numbers.items() if values}

    def data(self) -> dict[str, Any]:
        """Tokens, gates, means and answer as plain JSON values."""
        gates = {name: [None if v is None else round(float(v), 4) for v in values] for name, values in self.gates.items()}
        return {"tokens": list(self.tokens), "gates": gates, "means": self.means, "answer": self.answer}


def sentence(clean: GateView, now: GateView, blur: float, snr_db: float) -> str:
    """The mean gates in words, with those on the clean input where they differ."""
    parts = []
    for modality, mean in now.means.items():
        before, after = f"{clean.means.get(modality, mean):.2f}", f"{mean:.2f}"
        parts.append(f"{modality} gate {after}" if before == after else f"{modality} gate {before} → {after}")
    return f"At blur {blur:g} px and {snr_db:g} dB speech to noise: {', '.join(parts)}."


def picture(clean: GateView, now: GateView, height: int = 360) -> Image.Image:
    """The screen beside one bar for each modality's mean; a tick marks the mean on the clean input."""
    width = max(1, round(now.screenshot.width * height / now.screenshot.height))
    screen = now.screenshot.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    margin, gap, room = 24, 32, 320
    image = Image.new("RGB", (2 * margin + width + gap + room, 2 * margin + height), "white")
    image.paste(screen, (margin, margin))
    pen, x, y = ImageDraw.Draw(image), margin + width + gap, margin
    for (modality, mean), colour in zip(now.means.items(), COLOURS * len(now.means), strict=False):
        pen.text((x, y), f"{modality} gate", INK, font(16))
        pen.text((x + room, y), f"{mean:.2f}", INK, font(16), anchor="ra")
        pen.rounded_rectangle((x, y + 28, x + room, y + 40), 6, TRACK)
        if mean > 0.01:
            pen.rounded_rectangle((x, y + 28, x + max(12, room * mean), y + 40), 6, colour)
        tick = x + room * clean.means.get(modality, mean)
        pen.line((tick, y + 24, tick, y + 44), INK, 2)
        y += 68
    pen.text((x, y), "tick: on the clean input", SOFT, font(12))
    for line in wrap(now.answer, font(14), room, 6):
        pen.text((x, y + 34), line, INK, font(14))
        y += 21
    return image
