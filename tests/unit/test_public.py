"""What an engineer calls stands in one place: every public name is there, says what it is, and costs nothing before it is used."""

import subprocess
import sys
from types import ModuleType

import pytest

from autoglm_lab import compress, export

PUBLIC = [(package, name) for package in (compress, export) for name in getattr(package, "__all__", ())]


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_name_is_there_and_says_what_it_is(package, name):
    value = getattr(package, name)
    assert not isinstance(value, ModuleType), f"a module of the name {name} hides the function"
    assert value.__doc__ and value.__name__ == name


def test_names_and_homes_are_the_same_and_each_is_in_the_docstring():
    assert sorted(compress._LAZY) == sorted(compress.__all__)
    assert all(f"`{name}`" in compress.__doc__ for name in compress.__all__)
    with pytest.raises(AttributeError, match="has no 'prune_all'; it has Coverage, Group"):
        compress.prune_all  # noqa: B018


def test_modules_do_not_hide_names_and_nothing_is_loaded_early():
    code = (
        "import sys; from autoglm_lab import compress, export; assert 'torch' not in sys.modules; "
        "import autoglm_lab.compress.recipe, autoglm_lab.compress.kinds; "
        "print(*(name for name in compress.__all__ if not callable(getattr(compress, name))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split()


def test_the_table_of_layers_is_what_operations_take():
    table = {row.kind: row for row in compress.known_layers()}
    assert table["Conv2d"].bits and table["Conv2d"].channels and not table["Conv2d"].rank
    assert not any((table["LayerNorm"].rank, table["LayerNorm"].bits, table["Bilinear"].bits, table["Bilinear"].channels))
    assert len(compress.layer_table().splitlines()) == 1 + len(table)
