"""`.ci/setup.py` as a module for the tests; its folder is no package."""

import importlib.util
import pathlib

path = pathlib.Path(__file__).resolve().parents[2] / ".ci" / "setup.py"
spec = importlib.util.spec_from_file_location("lab_setup", path)
setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(setup)
