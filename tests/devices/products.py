"""Runs on the device: every integer product of a graph, cut out of it, on inputs that were written down.

`python products.py PRODUCTS.onnx INPUTS.npz OUT.npz`
"""

import sys

import numpy as np
import onnxruntime

graph, inputs, out = sys.argv[1:]
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
found = session.run(None, dict(np.load(inputs)))
np.savez(out, **{output.name: values for output, values in zip(session.get_outputs(), found, strict=True)})
