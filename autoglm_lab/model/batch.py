"""PhoneGLM answering many requests at once, for evaluation, and the gates it opens while it does."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from autoglm_lab.evaluation.success import Request, World, spoken_requests, typed_requests
from autoglm_lab.model.modeling import MODALITIES, PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.phone.goals import REFUSED, goal
from autoglm_lab.phone.oracle import meaning
from autoglm_lab.phone.speech import add_noise
from autoglm_lab.progress import track
from autoglm_lab.runtime.constraints import Constraint, Quotes, Typing
from autoglm_lab.runtime.engine import Answer
from autoglm_lab.runtime.features import gaussian_blur
from autoglm_lab.runtime.prompt import write_answer
from autoglm_lab.runtime.spelling import spelling
from autoglm_lab.runtime.understanding import MAX_GOAL, Commands, Understood, command_key

BLURS = {"clean": 0.0, "blur_2": 2.0, "blur_4": 4.0, "blur_8": 8.0}  # pixels of the 224-pixel input
NOISES = {"clean": float("inf"), "snr_10": 10.0, "snr_0": 0.0}  # dB


def compiled(model: PhoneGLMForConditionalGeneration) -> PhoneGLMForConditionalGeneration:
    """A copy of a model that PyTorch's compiler translates at its first answers, which takes minutes.

    ImportError without a compiler for C++.
    """
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise ImportError("torch.compile needs a compiler for C++ (Debian: apt install g++)")
    copied = copy.deepcopy(model)
    copied.forward = torch.compile(copied.forward, dynamic=True)  # type: ignore[method-assign]
    return copied


class BatchEngine:
    """Greedy answers for batches of requests."""

    def __init__(self, model: PhoneGLMForConditionalGeneration, processor: PhoneGLMProcessor, think: bool = False) -> None:
        self.model, self.processor, self.think = model, processor, think
        self.model.train(False)
        self._commands = Commands(model.config.confirm_below)
        self.spelling = spelling(processor.tokenizer.backend_tokenizer)

    @property
    def memory(self) -> int:
        """Number of past actions that the model was trained to read."""
        return int(self.model.config.memory)

    def inputs(self, requests: Sequence[Request]) -> Any:
        """Tensors of a batch; spoken requests show the model no text."""
        return self.processor(
            text=["" if r.audio is not None else r.task.text for r in requests],
            images=[r.image for r in requests],
            audio=[r.audio for r in requests],
            current_app=[r.app for r in requests],
            last=[r.memory(self.memory) for r in requests],
            think=self.think,
        )

    @torch.inference_mode()
    def answer_many(self, requests: Sequence[Request]) -> list[Answer]:
        """One greedy answer for each request."""
        if not self.model.config.understands:
            return [Answer.read(text, 0, {}) for text in self.texts(self.inputs(requests))]
        understood = self.understand(requests)
        answers = [Answer.read(format_action(Action("finish", message=each.refusal)), 0, {}) for each in understood]
        able = [number for number, each in enumerate(understood) if each.goal]
        if able:
            goals = [understood[number].goal for number in able]
            by_goal = [_by_goal(requests[number], each) for number, each in zip(able, goals, strict=True)]
            constraints = [Typing(each, self.processor.tokenizer.encode) for each in goals]
            for number, text in zip(able, self.texts(self.inputs(by_goal), constraints=constraints), strict=True):
                answers[number] = Answer.read(text, 0, {}, goal=understood[number].goal, unsure=understood[number].unsure)
        return answers

    def understand(self, requests: Sequence[Request]) -> list[Understood]:
        """The meanings of the commands of requests: each that is new is read once; a request with a goal has been understood."""
        commands = [("" if r.audio is not None else r.task.text, r.audio) for r in requests if not r.goal]
        meanings = {command_key(*command): self._commands.get(*command) for command in commands}
        new = {command_key(*command): command for command in commands if meanings[command_key(*command)] is None}
        if new:
            texts, sounds = [text for text, _ in new.values()], [sound for _, sound in new.values()]
            constraints = [Quotes(text, self.spelling) if text else None for text in texts]
            written = self._generate(self.processor(text=texts, audio=sounds, command=True), MAX_GOAL, constraints)
            answers, confidences = (
                self._decode(written.sequences),
                _confidences(written.logits, written.sequences, self.processor.tokenizer.eos_token_id),
            )
            for (key, command), answer, confidence in zip(new.items(), answers, confidences, strict=True):
                meanings[key] = self._commands.keep(*command, answer, confidence)
        read = iter(commands)
        return [Understood(r.goal) if r.goal else cast(Understood, meanings[command_key(*next(read))]) for r in requests]

    @torch.inference_mode()
    def texts(self, inputs: Any, max_new_tokens: int = 64, constraints: Sequence[Constraint | None] = ()) -> list[str]:
        """The model's texts for a batch of tensors, each within its constraint, if it has one."""
        return self._decode(self._generate(inputs, max_new_tokens, constraints, weigh=False).sequences)

    @torch.inference_mode()
    def _generate(self, inputs: Any, most: int, constraints: Sequence[Constraint | None], *, weigh: bool = True) -> Any:
        """At most so many tokens for each row, as `sequences` [B, T], and their scores as `logits`, T of [B, V], with `weigh`."""
        tokenizer = self.processor.tokenizer
        prompt_length, every = inputs["input_ids"].shape[1], list(range(self.model.config.vocab_size))

        def allowed(row: int, ids: Tensor) -> list[int]:
            holds = constraints[row]
            return every if holds is None else holds.allowed(ids[prompt_length:].tolist()) or every

        model: Any = self.model  # the library's typing of generate excludes models that are not its own
        options = {"max_new_tokens": most, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        options |= {"eos_token_id": tokenizer.eos_token_id, "prefix_allowed_tokens_fn": allowed if constraints else None}
        output = model.generate(**inputs, **options, return_dict_in_generate=True, output_logits=weigh)
        output.sequences = output.sequences[:, prompt_length:]
        return output

    def _decode(self, ids: Int[Tensor, "B T"]) -> list[str]:
        """The text of each row, up to the token that ends an answer."""
        tokenizer, rows = self.processor.tokenizer, ids.tolist()
        ends = [row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else len(row) for row in rows]
        return [tokenizer.decode(row[:end]) for row, end in zip(rows, ends, strict=True)]

    def generate(self, *, task: str = "", image: Any = None, audio: Any = None, current_app: str = HOME_SCREEN) -> str:
        """The text of one answer, from the arguments of `Engine.answer`: written by the library's own `generate`."""
        return self.texts(self.processor(text=task, images=image, audio=audio, current_app=current_app))[0]

    @torch.inference_mode()
    def gates(self, inputs: Any) -> dict[str, float]:
        """Mean gate of each modality over the tokens of the model's own answers and over the gated layers."""
        full, is_answer = self.with_answers(inputs, self.texts(inputs))
        gates = self.model(**full).gates
        # the gate of an answer token is the one that was open when it was chosen: one place before it
        return {
            m: float(torch.stack([layer[m][:, -is_answer.shape[1] - 1 : -1][is_answer].mean() for layer in gates]).mean())
            for m in MODALITIES
        }

    def with_answers(self, inputs: Any, answers: Sequence[str]) -> tuple[dict[str, Any], Bool[Tensor, "B T"]]:
        """The tensors of a batch with answers after its prompts, and a mask of the last T places, true at answers."""
        tokenizer = self.processor.tokenizer
        rows = [tokenizer.encode(text) for text in answers]
        longest = max(map(len, rows))
        tail = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        is_answer = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        mask = torch.cat((inputs["attention_mask"], is_answer), 1)
        full = dict(inputs) | {"input_ids": torch.cat((inputs["input_ids"], tail), 1), "attention_mask": mask}
        return full | {"position_ids": (mask.cumsum(1) - 1).clamp_min(0)}, is_answer.bool()

    def rightly_answered(self, requests: Sequence[Request]) -> tuple[dict[str, Any], Bool[Tensor, "B T"]]:
        """The tensors of a batch with the right answers after its prompts, and a mask of the last T places, true at answers.

        ValueError for requests that have no right answer.
        """
        actions = [request.wanted for request in requests]
        if not actions or None in actions:
            raise ValueError("each request needs the action that is wanted; tasks that are played to the end have none")
        texts = [write_answer("", format_action(action)) for action in actions if action is not None]
        return self.with_answers(self.step_inputs(requests), texts)

    def rightly_understood(self, requests: Sequence[Request]) -> tuple[dict[str, Any], Bool[Tensor, "B T"]]:
        """The same of the commands alone, each with its meaning after it, for an agent that understands commands first."""
        texts = [write_answer("", format_action(meaning(request.task))) for request in requests]
        return self.with_answers(self.command_inputs(requests), texts)

    def step_inputs(self, requests: Sequence[Request]) -> Any:
        """As `inputs`, but an agent that understands commands first is asked by the goals that are right."""
        if not self.model.config.understands:
            return self.inputs(requests)
        return self.inputs([r if r.task.kind in REFUSED else _by_goal(r, goal(r.task)) for r in requests])

    def command_inputs(self, requests: Sequence[Request]) -> Any:
        """Tensors of the commands of requests: what an agent reads that understands them first."""
        texts = ["" if r.audio is not None else r.task.text for r in requests]
        return self.processor(text=texts, audio=[r.audio for r in requests], command=True)

    def examples(self, requests: Sequence[Request]) -> Iterator[tuple[dict[str, Any], Bool[Tensor, "B T"]]]:
        """All that the agent reads and writes to answer requests: the commands, if it reads them apart, and the steps."""
        if self.model.config.understands:
            yield self.rightly_understood(requests)
        yield self.rightly_answered(requests)

    def loss(
        self, requests: Sequence[Request], model: torch.nn.Module | None = None, *, batch: int | None = None
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of the right answers' tokens: quicker than answering, and it has a gradient.

        `model` may be a changed copy of the engine's; with `batch` only so many requests are read at once. ValueError for
        requests that have no right answer.
        """
        at_once = batch or max(1, len(requests))
        parts = [requests[first : first + at_once] for first in range(0, max(1, len(requests)), at_once)]
        bar = track(parts, "loss", "batch")
        return torch.cat([self._losses(part, self.model if model is None else model) for part in bar]).mean()

    def _losses(self, requests: Sequence[Request], model: torch.nn.Module) -> Float[Tensor, " N"]:
        losses = []
        for full, is_answer in self.examples(requests):
            logits = model(**full, logits_to_keep=is_answer.shape[1] + 1).logits[:, :-1][is_answer]
            ids = full["input_ids"][:, -is_answer.shape[1] :][is_answer]
            losses.append(cross_entropy(logits.float(), ids, reduction="none"))
        return torch.cat(losses)


def _confidences(scores: Sequence[Float[Tensor, "B V"]], ids: Int[Tensor, "B T"], end: int) -> list[float]:
    """The confidence of each row's text (`runtime.confidence`), up to its `end` and with it."""
    logs = torch.stack(
        [row.float().log_softmax(-1).gather(1, token[:, None])[:, 0] for row, token in zip(scores, ids.T, strict=True)], 1
    )
    is_end = (ids == end).int()
    counts = is_end.cumsum(1) - is_end == 0
    means = (logs * counts).sum(1) / counts.sum(1)
    return [float(mean) for mean in means.exp()]


def _by_goal(request: Request, text: str) -> Request:
    """The same request, typed as the `text` of its goal."""
    return replace(request, task=replace(request.task, text=text), audio=None)


def gate_response(engine: BatchEngine, seed: int = 0, count: int = 128) -> dict[str, dict[str, float]]:
    """Mean image gate as the screen is blurred, mean speech gate as noise is added to the command."""
    world = World(seed)
    typed = typed_requests(world, count, stream=6, kind="open_app")
    spoken = spoken_requests(world, count, held_out=False, stream=7)
    report: dict[str, dict[str, float]] = {"image": {}, "speech": {}}
    clean = [_clean(world, request, number) for number, request in enumerate(spoken)]
    parts = range(0, count, 32)
    with track(None, "gates", "batch", total=(len(BLURS) + len(NOISES)) * len(parts)) as bar:
        for name, sigma in BLURS.items():
            values = []
            for first in parts:
                inputs = engine.step_inputs(typed[first : first + 32])
                pixels = inputs["pixel_values"].numpy()
                inputs["pixel_values"] = torch.from_numpy(np.stack([gaussian_blur(p, sigma) for p in pixels]))
                values.append(engine.gates(inputs)["image"])
                bar.update()
            report["image"][name] = round(float(np.mean(values)), 4)
        for name, snr in NOISES.items():
            values = []
            for first in parts:
                part = spoken[first : first + 32]
                for number, request in enumerate(part):
                    rng = np.random.default_rng([seed, first + number])
                    request.audio = add_noise(clean[first + number], snr, rng)
                heard = engine.command_inputs(part) if engine.model.config.understands else engine.inputs(part)
                values.append(engine.gates(heard)["audio"])
                bar.update()
            report["speech"][name] = round(float(np.mean(values)), 4)
    return report


def _clean(world: World, request: Request, number: int) -> np.ndarray:
    """The request spoken without any noise."""
    from autoglm_lab.phone.synthesis import ACCENTS, VARIANTS, synthesise

    rng = np.random.default_rng([world.seed, number, 3])
    voice = f"{rng.choice(ACCENTS[request.task.lang])}+{rng.choice(VARIANTS)}"
    return np.asarray(synthesise(request.task.text, voice, rate_wpm=170, pitch=50), np.float32)
