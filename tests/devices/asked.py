"""Runs on the device, beside a device folder's `autoglm_lab`: answers requests, and the scores of given answers, into a file.

`python asked.py BUNDLE REQUESTS.npz OUT.npz`
"""

import json
import platform
import sys

import numpy as np
import onnxruntime

from autoglm_lab.runtime.features import image_features, log_mel, mono_16k
from autoglm_lab.runtime.onnx_engine import OnnxEngine, Step
from autoglm_lab.runtime.prompt import write_prompt

bundle, requests, out = sys.argv[1:]
engine = OnnxEngine(bundle, threads=1)
given = np.load(requests)
answers, scores = [], {}
for number, asked in enumerate(json.loads(str(given["asked"]))):
    image = given[f"image_{number}"]
    audio = given.get(f"audio_{number}")
    answers.append(engine.answer(asked["task"], image, audio, current_app=asked["app"], last=asked["last"]).answer.text)
    states = dict(engine.nothing)
    features = {"image": image_features(image)[None]}
    if audio is not None:
        features["audio"] = log_mel(mono_16k(audio, 16_000))[None]
    for name, values in features.items():
        session = engine.sessions[name]
        made = session.run(None, {session.get_inputs()[0].name: values})
        states |= dict(zip((output.name for output in session.get_outputs()), made, strict=True))
    prompt = write_prompt(asked["task"], asked["app"], asked["last"], audio=audio is not None)
    ids = engine.tokenizer.encode(prompt, add_special_tokens=False).ids
    said = engine.tokenizer.encode(asked["said"], add_special_tokens=False).ids
    step = Step(engine.sessions["step"], {"present": np.array([1, audio is not None], np.float32), **states}, len(ids) + len(said))
    scores[f"scores_{number}"] = np.stack([step.scores(part) for part in (ids, *([token] for token in said))])
np.savez(out, answers=json.dumps(answers), **scores)
print(platform.machine(), onnxruntime.__version__)
