"""llama.cpp, which knows GLM but no cross-attention: the decoder alone, answering what is typed while it sees and hears nothing.

`python -m autoglm_lab.benchmarks.peers.llama PLAIN OUT [--bundle DIR] [--threads N] [--rounds N]` prints one JSON object as
its last line. It is run by a Python that has llama-cpp-python, which compiles llama.cpp when it is installed.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoglm_lab import atomic
from autoglm_lab.benchmarks.peers.compare import CONVERTED, arguments, bundle_step, race
from autoglm_lab.benchmarks.peers.runtimes import silence

NEEDS = ("llama-cpp-python==0.3.36", "gguf==0.19.0")
TITLE = "llama.cpp"
ARCHITECTURE = "chatglm"  # GGUF's name for GLM
PRECISIONS = {"f32": "F32", "q8": "Q8_0"}
CONFIG, WEIGHTS, CASES = "config.json", "weights.npz", "cases.npz"
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def names(layers: int) -> dict[str, str]:
    """Names in GGUF of the tensors of a plain GLM.

    >>> names(1)["layers.0.mlp.down_proj.weight"]
    'blk.0.ffn_down.weight'
    """
    mapping = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    for number in range(layers):
        mapping |= {f"layers.{number}.{ours}.weight": f"blk.{number}.{theirs}.weight" for ours, theirs in LAYER.items()}
    return mapping


def _write_gguf(plain: Path, out: Path, precision: str) -> None:
    """A plain GLM as a GGUF file without a tokenizer; matrices in `precision`, norms in floats."""
    import gguf

    config = json.loads((plain / CONFIG).read_text("utf-8"))
    weights = np.load(plain / WEIGHTS)
    kind = gguf.GGMLQuantizationType[PRECISIONS[precision]]
    file = gguf.GGUFWriter(out, ARCHITECTURE)
    file.add_block_count(config["num_hidden_layers"])
    file.add_context_length(config["max_position_embeddings"])
    file.add_embedding_length(config["hidden_size"])
    file.add_feed_forward_length(config["intermediate_size"])
    file.add_head_count(config["num_attention_heads"])
    file.add_head_count_kv(config["num_key_value_heads"])
    file.add_key_length(config["head_dim"])
    file.add_value_length(config["head_dim"])
    file.add_layer_norm_rms_eps(config["rms_norm_eps"])
    file.add_rope_dimension_count(int(config["head_dim"] * config["rope_parameters"]["partial_rotary_factor"]))
    file.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    file.add_vocab_size(config["vocab_size"])
    file.add_tokenizer_model("none")
    file.add_file_type(gguf.LlamaFileType[f"MOSTLY_{PRECISIONS[precision]}" if precision != "f32" else "ALL_F32"])
    for ours, theirs in names(config["num_hidden_layers"]).items():
        values = weights[ours]
        if values.ndim == 2:
            file.add_tensor(theirs, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            file.add_tensor(theirs, values)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


class Decoder:
    """A GGUF file in llama.cpp: tokens in, the scores of the next one out."""

    def __init__(self, path: Path, places: int, threads: int) -> None:
        import llama_cpp

        self.library = llama_cpp
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise ValueError(f"llama.cpp does not read {path.name}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_threads, options.n_threads_batch = places, places, threads, threads
        options.type_k = options.type_v = int(llama_cpp.GGML_TYPE_F32)  # a cache of floats, as everywhere here
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.total = 0

    def scores(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Scores [V] of the token after `ids`, which follow all that was given before. RuntimeError when they do not fit."""
        tokens = (ctypes.c_int32 * len(ids))(*ids)  # the batch only points to it
        batch = self.library.llama_batch_get_one(tokens, len(ids))
        if self.library.llama_decode(self.context, batch):
            raise RuntimeError(f"llama.cpp cannot read {len(ids)} tokens after {self.total}")
        self.total += len(ids)
        logits = self.library.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(logits, (self.vocabulary,)).copy()

    def back_to(self, total: int) -> None:
        """Forget all tokens but the first `total`."""
        self.library.llama_memory_seq_rm(self.library.llama_get_memory(self.context), 0, total, -1)
        self.total = total

    def write(self, prompt: Sequence[int], end: int, longest: int) -> list[int]:
        """The tokens of an answer, without the one that ends it."""
        self.back_to(0)
        answer: list[int] = []
        unread = list(prompt)
        while len(answer) < longest:
            token = int(self.scores(unread).argmax())
            if token == end:
                break
            answer.append(token)
            unread = [token]
        return answer


def compare(decoder: Decoder, plain: Path, end: int) -> dict[str, Any]:
    """Distance of scores from the model's, and the number of answers that are the same token for token."""
    arrays = np.load(plain / CASES)
    count, same, worst = sum(name.startswith("prompt") for name in arrays), 0, 0.0
    for number in range(count):
        prompt, answer, right = (arrays[f"{name}_{number}"] for name in ("prompt", "said", "scores"))
        decoder.back_to(0)
        mine = decoder.scores([*prompt.tolist(), *answer.tolist()])
        worst = max(worst, float(np.linalg.norm(mine - right) / np.linalg.norm(right)))
        same += decoder.write(prompt.tolist(), end, len(answer) + 8) == answer.tolist()
    return {"distance": worst, "same_answers": same, "requests": count}


def step_of(decoder: Decoder, prompt: Sequence[int], token: int) -> Callable[[], object]:
    """One step in the middle of an answer, always the same."""
    decoder.back_to(0)
    decoder.scores(prompt)

    def call() -> object:
        decoder.back_to(len(prompt))
        return decoder.scores([token])

    return call


def report(plain: Path, out: Path, threads: int, rounds: int, bundle: Path | None = None) -> dict[str, Any]:
    """Convert into the empty folder `out`, run, compare, race.

    What fails says where and why, in place of figures it does not have.
    """
    record: dict[str, Any] = {"runtime": TITLE, "version": _version(), "threads": threads, "verdict": "fails"}
    facts = json.loads((plain / CONFIG).read_text("utf-8"))
    stage = "converting"
    try:
        decoders = {}
        for precision in PRECISIONS:
            path = out / f"plain_{precision}.gguf"
            _write_gguf(plain, path, precision)
            stage = "opening"
            decoders[precision] = Decoder(path, facts["max_position_embeddings"], threads)
            stage = "running"
            figures = compare(decoders[precision], plain, facts["eos_token_id"])
            record[precision] = {"bytes": path.stat().st_size, **figures}
        record |= record["f32"]
        same, requests = record["q8"]["same_answers"], record["q8"]["requests"]
        record |= {
            "verdict": "verified",
            "note": f"the decoder alone, on typed text; with 8 bits {same} of {requests} answers the same",
        }
        if rounds and bundle is not None:
            case = np.load(plain / CASES)
            prompt, token = case["prompt_0"].tolist(), int(case["said_0"][0])
            ways: Mapping[str, Callable[[], object]] = {"bundle": bundle_step(bundle, prompt, token, threads)}
            raced = [
                race({**ways, f"llamacpp_{precision}": step_of(decoder, prompt, token)}, rounds)
                for precision, decoder in decoders.items()
            ]
            record |= {key: {name: figures for one in raced for name, figures in one[key].items()} for key in ("step_ms", "ratios")}
    except Exception as problem:
        record["why"] = f"{stage}: {type(problem).__name__}: {problem}"[:300]
    return record


def _version() -> str:
    name = NEEDS[0].split("==")[0]
    return f"{name} {importlib.metadata.version(name)}"


def main() -> None:
    """Run the command in this module's first lines."""
    args = arguments("autoglm_lab.benchmarks.peers.llama").parse_args()
    with silence(), atomic.folder(args.out, CONVERTED) as out:
        record = report(args.parts, out, args.threads, args.rounds, args.bundle)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
