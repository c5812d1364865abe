"""A bundle of a tiny agent with random weights, for the tests of the server: it answers with nonsense, the same each time."""

import json
from pathlib import Path

import torch

from autoglm_lab.export.bundle import digest
from autoglm_lab.export.graphs import agent_graphs
from autoglm_lab.export.module import OPSET
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.paths import data_dir
from autoglm_lab.runtime.bundle import FEATURES, FORMAT, GRAPHS, MANIFEST, ROWS, TOKENIZER

FILES = GRAPHS | FEATURES | {"rows": ROWS}


def write_tiny_bundle(folder: Path, seed: int = 0) -> Path:
    """`export.bundle` without its comparison with the model, which takes longer than the graphs."""
    torch.manual_seed(seed)
    model = PhoneGLMForConditionalGeneration(
        PhoneGLMConfig(
            hidden_size=32,
            intermediate_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            num_hidden_layers=2,
            gated_layers=(0,),
            image_channels=(8, 8, 16, 16),
            audio_channels=16,
            audio_blocks=1,
        )
    ).eval()
    with torch.no_grad():  # loud enough that answers depend on what is seen, heard and said
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight *= 1 if "embed" in name else 25 if "layers" in name or "gated" in name else 4
    folder.mkdir(parents=True)
    unused = dict.fromkeys(FEATURES, b"for other runtimes")
    for name, content in (agent_graphs(model, rows=True) | unused).items():
        (folder / FILES[name]).write_bytes(content)
    (folder / TOKENIZER).write_bytes((data_dir() / "model" / "tokenizer.json").read_bytes())
    manifest = {
        "format": FORMAT,
        "opset": OPSET,
        "recipe": {},
        "places": model.config.max_position_embeddings,
        "apart": {},
        "shared_scale": False,
        "end": model.config.eos_token_id,
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)}
            for name in (*FILES.values(), TOKENIZER)
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return folder
