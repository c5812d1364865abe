"""Half of many architectures, here and in Torch-Pruning: writes which works, which is exact, and the share that is gone.

Run where Torch-Pruning is installed, in a folder of its own: `pip install --no-deps --target FOLDER torch-pruning==1.6.1`, then
`PYTHONPATH=FOLDER:. python tests/beside/pruning_peers.py`.
"""

import csv
import signal
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import torch
import torch_pruning as tp
import transformers as T
from torch import nn

from autoglm_lab.compress.channels import channel_axis
from autoglm_lab.compress.geometry import HEAD_COUNTS
from autoglm_lab.compress.groups import outputs
from autoglm_lab.compress.structured import masked, prune_structured
from tests.unit.pruned_models import DECODER, MODELS, make
from tests.unit.strange_models import HUGGING, strange

REPORT = Path(__file__).parents[2] / "data" / "reports" / "peers" / "pruning.csv"
ROWS = ("Llama", "Glm", "Bert", "ViT", "ResNet-like", "GPT-2", "T5", "Phi-3", "TransformerEncoder", "cross attention", "U-Net-like",
        "GroupNorm", "ResNeXt-like", "MobileNet-like", "LSTM", "chunks", "heads and neurons", "tied")  # fmt: skip
HALF = 0.5
LIMIT = 10  # seconds of computing for one architecture; a second or two are usual


def build(name):
    if name == "Bert":  # with a classifier, so that no hidden state is an answer
        torch.manual_seed(0)
        config = T.BertConfig(**DECODER, max_position_embeddings=32)
        return T.BertForSequenceClassification(config).eval(), {"input_ids": torch.randint(1, 64, (2, 5))}
    return make(name) if name in MODELS else strange(name)


def apart(mine, right):
    """The largest difference, as a share of the largest value; infinite where shapes differ."""
    if [a.shape for a in mine] != [b.shape for b in right]:
        return float("inf")
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(mine, right, strict=True))


def count(model):
    return sum(p.numel() for p in model.parameters())


def here(name):
    model, example = build(name)
    measure = "macs" if name in HUGGING or name in ("Llama", "Glm", "Bert", "ViT") else "parameters"
    done = prune_structured(model, example, HALF, of=measure, quiet=True)
    with torch.no_grad():
        difference = apart(outputs(done.model, example), outputs(masked(model, done.removed), example))
    return done.saved["parameters"], difference


def there(name):
    """Torch-Pruning as its guide has it: half of the channels and heads, the last layers left alone, heads counted by hand."""
    model, example = build(name)
    whole, full = build(name)[0], count(model)
    heads, last = {}, [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    for module in model.modules():
        number = next((v for v in (getattr(module, key, None) for key in HEAD_COUNTS[:-1]) if isinstance(v, int)), None)
        if number and isinstance(module, nn.MultiheadAttention):
            heads[module] = number
        elif number:
            fewer = getattr(module, "num_key_value_heads", number)
            for child_name, child in module.named_children():
                if isinstance(child, nn.Linear) and not child_name.startswith(("o", "c_proj")):
                    heads[child] = fewer if child_name[0] in "kv" else number
    inputs = example if isinstance(example, dict) else tuple(example)
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, tp.importance.MagnitudeImportance(p=1), pruning_ratio=HALF, num_heads=heads, prune_num_heads=True,
        prune_head_dims=False, head_pruning_ratio=HALF, ignored_layers=[last], output_transform=_first,
    )  # fmt: skip
    names = {module: name for name, module in model.named_modules()}
    stay, gone = {}, defaultdict(set)
    for group in pruner.step(interactive=True):
        for dependency, channels in group:
            module, inside = dependency.target.module, pruner.DG.is_in_channel_pruning_fn(dependency.handler)
            if inside and module in names and isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                width = getattr(module, "in_features", None) or module.in_channels
                numbers = stay.setdefault(names[module], list(range(width)))
                gone[names[module]].update(numbers[channel] for channel in channels)
                stay[names[module]] = [n for place, n in enumerate(numbers) if place not in set(channels)]
        group.prune()
    for module in model.modules():
        for child in module.children():
            for key in HEAD_COUNTS:
                if child in pruner.num_heads and hasattr(module, key) and key != "num_key_value_heads":
                    setattr(module, key, child.out_features if key == "all_head_size" else pruner.num_heads[child])
    with torch.no_grad():
        mine = outputs(model, example)
        for layer, channels in gone.items():
            whole.get_submodule(layer).register_forward_pre_hook(_without(sorted(channels)))
        return 1 - count(model) / full, apart(mine, outputs(whole, example))


def _without(channels):
    def hook(layer, inputs):
        return inputs[0].index_fill(channel_axis(layer), torch.tensor(channels), 0)

    return hook


def _first(answer):
    values = [v for v in (answer.values() if isinstance(answer, dict) else [answer]) if isinstance(v, torch.Tensor)]
    return sum(value.sum() for value in values)


def _stop(number, frame):
    raise TimeoutError(f"no end after {LIMIT} s of computing")


def main(names):
    rows = []
    signal.signal(signal.SIGPROF, _stop)
    for name in names or ROWS:
        row = {"architecture": name}
        for tool, run in (("here", here), ("torch_pruning", there)):
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
            try:
                saved, difference = run(name)
                row |= {f"{tool}_works": True, f"{tool}_exact": difference < 1e-5, f"{tool}_parameters_gone": round(saved, 3),
                        f"{tool}_difference": f"{difference:.0e}", f"{tool}_error": ""}  # fmt: skip
            except Exception as error:  # whatever stops the other tool is what the table is about
                words = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
                row |= {f"{tool}_works": False, f"{tool}_exact": False, f"{tool}_parameters_gone": 0.0, f"{tool}_difference": "",
                        f"{tool}_error": words}  # fmt: skip
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        rows.append(row)
        print(row, flush=True)
    if names:
        return
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])  # some by name are printed; only the whole table is written
