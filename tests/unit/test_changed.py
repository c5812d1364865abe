"""Which unit tests `make check` runs."""

import subprocess

import pytest

from tests.changed import affected_tests, changed_files, imported


@pytest.fixture
def checkout(tmp_path):
    files = {
        "autoglm_lab/phone/screens.py": "",
        "autoglm_lab/phone/state.py": "",
        "tests/unit/test_screens.py": "def test_it():\n    from autoglm_lab.phone import screens\n",
        "tests/unit/test_state.py": "from autoglm_lab.phone.state import State\n",
        "tests/unit/test_other.py": "import json\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_what_has_changed_and_who_imports_it(checkout):
    assert changed_files(root=checkout) == set() and affected_tests(set(), checkout) == []
    (checkout / "autoglm_lab/phone/screens.py").write_text("changed = 1\n")
    (checkout / "tests/unit/test_new.py").write_text("")
    changes = changed_files(root=checkout)
    assert changes == {"autoglm_lab/phone/screens.py", "tests/unit/test_new.py"}
    assert affected_tests(changes, checkout) == ["tests/unit/test_new.py", "tests/unit/test_screens.py"]
    assert affected_tests({"autoglm_lab/phone/state.py", "README.md"}, checkout) == ["tests/unit/test_state.py"]


def test_a_base_that_is_no_commit_is_refused(checkout):
    with pytest.raises(subprocess.CalledProcessError):
        changed_files("nothing", checkout)


def test_imports_anywhere_count():
    text = "import autoglm_lab.paths as paths\nimport numpy\nif 1:\n    from autoglm_lab.phone.adb import AdbPhone\n"
    assert imported(text) == {"autoglm_lab.paths", "autoglm_lab.phone.adb", "autoglm_lab.phone.adb.AdbPhone"}
