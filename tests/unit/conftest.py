"""Settings of all unit tests."""

import os

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several workers share the cores

# a busy machine is not a failing test
settings.register_profile("lab", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lab")


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """A few scenes with the clips of the bank, and an untrained small model; a test that changes the model copies it."""
    import torch

    from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
    from autoglm_lab.training.pipeline import few_scenes
    from autoglm_lab.training.trainer import preset

    data = few_scenes(tmp_path_factory.mktemp("few"), scenes=24)
    config = preset("mini").model
    config.vocab_size, config.hidden_size, config.head_dim = len(data.tokenizer), 64, 16
    config.intermediate_size, config.audio_channels, config.image_channels = 64, 32, (8, 8, 16, 16)
    torch.manual_seed(0)
    return data, PhoneGLMForConditionalGeneration(config).eval()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """The bundle of a tiny agent, for reading: one for all workers."""
    from tests.unit.tiny_agent import write_tiny_bundle

    here = tmp_path_factory.getbasetemp()
    folder = (here.parent if "PYTEST_XDIST_WORKER" in os.environ else here) / "tiny"
    with FileLock(f"{folder}.lock"):
        return folder if (folder / "manifest.json").exists() else write_tiny_bundle(folder)
