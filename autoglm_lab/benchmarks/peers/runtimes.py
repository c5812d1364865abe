"""The other runtimes: what each needs, how a graph gets into it, and how it is run there.

Libraries are imported where they are used: each is installed in an environment of its own (`benchmarks.peers.environment`).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autoglm_lab.runtime.host import Arrays, Call


class Peer(ABC):
    """A runtime: its package, and what it makes of a portable graph."""

    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    source: ClassVar[str] = "onnx"  # the kind of file it starts from: onnx or pt2
    ending: ClassVar[str]  # of the file or folder that it makes
    parts: ClassVar[tuple[str, ...]] = ("image", "audio", "step")  # of the portable files

    def version(self) -> str:
        """The version of the package that is installed."""
        return importlib.metadata.version(self.needs[0].split("==")[0])

    def wanted(self) -> tuple[str, ...]:
        """Packages that have to be installed here."""
        return self.needs

    @abstractmethod
    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Write the runtime's own file for a graph."""

    @abstractmethod
    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Open the runtime's file, ready to be run."""


class OnnxRuntime(Peer):
    """The runtime of the course itself, with the same portable files: the one all others are compared with."""

    title, needs, ending = "ONNX Runtime", ("onnxruntime",), ".onnx"

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Copy the file; nothing is to be converted."""
        out.write_bytes(source.read_bytes())

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Open a session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.force_spinning_stop", "1")  # two runtimes take turns here
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def call(feeds: Arrays) -> Arrays:
            return dict(zip(outputs, session.run(None, feeds), strict=True))

        return call


class OpenVino(Peer):
    """Intel's runtime, in 32-bit floats."""

    title, needs, ending = "OpenVINO", ("openvino==2026.4.1",), ".xml"

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Convert to its intermediate representation, not halved."""
        import openvino

        openvino.save_model(openvino.convert_model(str(source)), str(out), compress_to_fp16=False)

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Compile for the processor here."""
        import openvino

        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(str(path), "CPU", hints)
        request = compiled.create_infer_request()
        places = [compiled.output(name) for name in outputs]

        def call(feeds: Arrays) -> Arrays:
            results = request.infer(feeds, share_inputs=True)
            return {name: results[place] for name, place in zip(outputs, places, strict=True)}

        return call


class Mnn(Peer):
    """Alibaba's runtime for phones, in 32-bit floats."""

    title, needs, ending = "MNN", ("mnn==3.6.1",), ".mnn"

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Convert with its own converter."""
        files = ["--modelFile", str(source), "--MNNModel", str(out), "--bizCode", "autoglm"]
        command = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", *files]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode or not out.exists():
            raise ValueError(f"mnnconvert failed: {(process.stdout + process.stderr).strip()[-300:]}")

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Load a module whose variables live on the host."""
        import MNN
        import MNN.expr as expr

        runtime = MNN.nn.create_runtime_manager(({"precision": "high", "backend": "CPU", "numThread": threads},))
        module = MNN.nn.load_module_from_file(str(path), list(inputs), outputs, runtime_manager=runtime)

        def variable(values: np.ndarray) -> Any:
            kind = expr.int if values.dtype.kind == "i" else expr.float
            return expr.const(np.ascontiguousarray(values), list(values.shape), expr.NCHW, kind)

        def call(feeds: Arrays) -> Arrays:
            results = module.forward([variable(feeds[name]) for name in inputs])
            return {name: np.array(value.read()) for name, value in zip(outputs, results, strict=True)}

        return call


class LiteRt(Peer):
    """Google's runtime, once TensorFlow Lite, in 32-bit floats."""

    title, needs, source, ending = "LiteRT", ("ai-edge-litert==2.3.0", "litert-torch==0.10.0"), "pt2", ".tflite"

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Convert from PyTorch's program."""
        import litert_torch
        import torch

        program = torch.export.load(source)
        example = program.example_inputs[0]
        litert_torch.convert(program.module(), example).export(str(out))

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Open an interpreter with XNNPACK."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        runner = interpreter.get_signature_runner()
        names = [f"args_{number}" for number in range(len(inputs))]

        def call(feeds: Arrays) -> Arrays:
            results = runner(**{name: feeds[mine] for name, mine in zip(names, inputs, strict=True)})
            return {name: results[f"output_{number}"] for number, name in enumerate(outputs)}

        return call


class ExecuTorch(Peer):
    """PyTorch's own runtime for phones, with XNNPACK, in 32-bit floats."""

    title, needs, source, ending = "ExecuTorch", ("executorch==1.5.1",), "pt2", ".pte"

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Lower to XNNPACK."""
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        lowered = to_edge_transform_and_lower(torch.export.load(source), partitioner=[XnnpackPartitioner()])
        out.write_bytes(lowered.to_executorch().buffer)

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Load by its runtime, which takes as many threads as there are cores."""
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")

        def call(feeds: Arrays) -> Arrays:
            results = method.execute([torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in inputs])
            return {name: value.numpy() for name, value in zip(outputs, results, strict=True)}

        return call


class Ncnn(Peer):
    """Tencent's runtime for phones, in 32-bit floats; its tensors have four axes and no integers, so the host looks things up."""

    title, needs, source, ending = "NCNN", ("ncnn==1.0.20261020", "pnnx==20261020"), "pt2", ""
    parts = ("image", "audio_body", "step_body")

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Trace, then convert with pnnx, which writes a description and the weights."""
        import pnnx
        import torch

        program = torch.export.load(source)
        example = program.example_inputs[0]
        out.mkdir()
        with torch.no_grad():
            torch.jit.trace(program.module(), example, check_trace=False).save(str(out / "traced.pt"))
        shapes = ",".join(f"[{','.join(map(str, value.shape))}]f32" for value in example)
        command = [pnnx.EXEC_PATH, "traced.pt", f"inputshape={shapes}", "fp16=0"]
        process = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
        if process.returncode or not (out / "traced.ncnn.param").exists():
            raise ValueError(f"pnnx failed ({process.returncode}): {(process.stdout + process.stderr).strip()[-300:]}")
        script = (out / "traced_ncnn.py").read_text()  # pnnx's own example says which axis of each tensor it took for the batch
        axes = re.findall(r"\b((?:in|out)\d+)\.numpy\((?:\), )?batch_index=(\d+)", script)
        (out / "batch.json").write_text(json.dumps({name: int(axis) for name, axis in axes}))
        for path in out.iterdir():
            if path.name not in ("traced.ncnn.param", "traced.ncnn.bin", "batch.json"):
                path.unlink()

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Load a network without half precision."""
        import ncnn

        net = ncnn.Net()
        options = net.opt
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = options.use_bf16_storage = False
        options.num_threads = threads
        if net.load_param(str(path / "traced.ncnn.param")) or net.load_model(str(path / "traced.ncnn.bin")):
            raise ValueError(f"ncnn cannot load {path.name}")

        axes = json.loads((path / "batch.json").read_text())

        def call(feeds: Arrays) -> Arrays:
            extractor = net.create_extractor()
            arrays = [np.ascontiguousarray(feeds[name]) for name in inputs]  # a Mat reads them where they lie, its clone is aligned
            for place, values in enumerate(arrays):
                extractor.input(f"in{place}", ncnn.Mat(values, batch_index=axes[f"in{place}"]).clone())
            results = {}
            for place, name in enumerate(outputs):
                failed, value = extractor.extract(f"out{place}")
                if failed:
                    raise ValueError(f"ncnn does not compute {name}")
                results[name] = np.array(value.numpy(batch_index=axes[f"out{place}"]))
            return results

        return call


class CoreMl(Peer):
    """Apple's runtime, in 16-bit floats. Its converter runs anywhere, its models run on a Mac or an iPhone."""

    title, needs, source, ending = "Core ML", ("coremltools==9.0",), "pt2", ".mlpackage"

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Convert to an ML program for iOS 17."""
        import coremltools
        import torch

        program = torch.export.load(source).run_decompositions({})
        model = coremltools.convert(
            program, convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS17, skip_model_load=True
        )
        model.save(str(out))

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Load a model, on a Mac. `NeedsHardware` elsewhere, with what the file holds."""
        import coremltools

        if platform.system() != "Darwin":
            spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
            blocks = [block for function in spec.mlProgram.functions.values() for block in function.block_specializations.values()]
            count = sum(operation.type != "const" for block in blocks for operation in block.operations)
            shapes = [tuple(value.type.multiArrayType.shape) for value in spec.description.input]
            if sorted(shapes) != sorted(map(tuple, inputs.values())) or len(spec.description.output) != len(outputs):
                raise ValueError(f"the model of Core ML has inputs {shapes}; wanted are {list(inputs.values())}")
            raise NeedsHardware("a Mac or an iPhone", f"{count} operations")
        model = coremltools.models.MLModel(str(path))
        description = model.get_spec().description
        names = [value.name for value in description.input]
        output_names = [value.name for value in description.output]

        def call(feeds: Arrays) -> Arrays:
            results = model.predict({name: feeds[mine] for name, mine in zip(names, inputs, strict=True)})
            return {name: results[its] for name, its in zip(outputs, output_names, strict=True)}

        return call


class TensorRt(Peer):
    """NVIDIA's runtime, in 16-bit floats. Engines are built on the GPU that runs them."""

    title, needs, ending = "TensorRT", ("onnx", "polygraphy==0.53.6"), ".plan"
    gpu_needs = ("tensorrt-cu12==10.16.1.11",)  # gigabytes, so only where there is a GPU

    def wanted(self) -> tuple[str, ...]:
        """Packages to install here; TensorRT itself only where there is a GPU."""
        return self.needs + self.gpu_needs * bool(gpus())

    def version(self) -> str:
        """The version that is installed, or the one that would be."""
        try:
            return importlib.metadata.version("tensorrt-cu12")
        except importlib.metadata.PackageNotFoundError:
            return self.gpu_needs[0].split("==")[1]

    def convert(self, source: Path, out: Path, inputs: dict[str, list[int]]) -> None:
        """Build on the GPU here. `NeedsHardware` without one; ValueError names operators that its parser does not know."""
        import onnx

        kinds = {node.op_type for node in onnx.load(source).graph.node}
        unknown = sorted(kinds - set(TENSORRT_OPERATORS.split()))
        if unknown:
            raise ValueError(f"TensorRT's parser does not know {', '.join(unknown)}")
        if not gpus():
            raise NeedsHardware("an NVIDIA GPU", f"{len(kinds)} kinds of operators, all known to its parser")
        from polygraphy.backend.trt import CreateConfig, engine_from_network, network_from_onnx_path, save_engine

        save_engine(engine_from_network(network_from_onnx_path(str(source)), config=CreateConfig(fp16=True)), str(out))

    def open(self, path: Path, inputs: dict[str, list[int]], outputs: list[str], threads: int) -> Call:
        """Load an engine and its buffers on the GPU."""
        from polygraphy.backend.common import bytes_from_path
        from polygraphy.backend.trt import TrtRunner, engine_from_bytes

        runner = TrtRunner(engine_from_bytes(bytes_from_path(str(path))))
        runner.activate()

        def call(feeds: Arrays) -> Arrays:
            results = runner.infer({name: feeds[name] for name in inputs})
            return {name: np.array(results[name]) for name in outputs}

        return call


# Of those that a portable graph may hold, what the parser of TensorRT 10 supports (onnx-tensorrt, docs/operators.md, release 10.1).
TENSORRT_OPERATORS = """
    Add Cast Concat Constant ConstantOfShape Conv Cos Div Equal Erf Expand Flatten Gather GatherND Gelu Gemm GlobalAveragePool
    Identity LayerNormalization Less MatMul Max Min Mul Neg Not Pow Range Reciprocal ReduceMean ReduceSum Relu Reshape Shape
    Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""


class NeedsHardware(Exception):
    """Missing hardware for a graph that was written, or could be: `hardware`, and what is `known` about the graph."""

    def __init__(self, hardware: str, known: str) -> None:
        super().__init__(hardware)
        self.hardware, self.known = hardware, known


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs here."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return process.stdout.split("\n")[:-1] if process.returncode == 0 else []


PEERS: dict[str, type[Peer]] = {
    "openvino": OpenVino,
    "mnn": Mnn,
    "litert": LiteRt,
    "executorch": ExecuTorch,
    "ncnn": Ncnn,
    "coreml": CoreMl,
    "tensorrt": TensorRt,
}


@contextlib.contextmanager
def silence() -> Any:
    """Discard what libraries print from C: the last line of a process is its result."""
    sys.stdout.flush()
    stdout, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(null)
