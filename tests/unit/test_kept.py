"""A kept bundle is exported once, and anew when what it is made of has changed."""

import sys

import pytest

import autoglm_lab
from autoglm_lab import atomic
from autoglm_lab.export import kept
from autoglm_lab.export.kept import kept_bundle
from autoglm_lab.marks import NotWrittenError
from autoglm_lab.runtime.bundle import Bundle


@pytest.fixture
def exports(tmp_path, monkeypatch, tiny_bundle):
    """The exports that were made; a small bundle stands for each."""
    made = []

    def export(recipe, folder, rows):
        made.append((recipe, rows))
        with atomic.folder(folder, "bundle") as part:
            for path in tiny_bundle.iterdir():
                if not path.name.startswith("."):
                    (part / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(kept, "work_dir", lambda: tmp_path)
    monkeypatch.setattr(kept, "_export", export)
    monkeypatch.setattr(kept, "_export_in_another_process", kept.export_here)  # that process would not see the small bundle
    return made


def test_it_is_exported_once_for_each_recipe(exports):
    first = kept_bundle()
    assert kept_bundle() == first and Bundle.open(first)
    others = {kept_bundle("int8"), kept_bundle(rows=True), kept_bundle("int8", rows=True)}
    assert len(others) == 3 and first not in others
    assert exports == [("whole", False), ("int8", False), ("whole", True), ("int8", True)]
    with pytest.raises(ValueError, match="recipe 'channels45' is not kept; there are whole, int8"):
        kept_bundle("channels45")


def test_it_is_exported_anew_when_code_checkpoint_or_a_file_of_it_changed(exports, monkeypatch):
    folder = kept_bundle()
    monkeypatch.setattr(kept, "TOOLS", ("torch",))  # as if a library had changed
    assert kept_bundle() == folder and len(exports) == 2
    graph = folder / "step.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    assert kept_bundle() == folder and len(exports) == 3 and Bundle.open(folder)
    assert kept_bundle() == folder and len(exports) == 3


def test_an_export_that_fails_leaves_nothing_that_counts_as_made(exports, monkeypatch):
    folder = kept_bundle()
    monkeypatch.setattr(kept, "TOOLS", ())

    def fail(recipe, folder, rows):
        raise ValueError("no")

    good = kept._export
    monkeypatch.setattr(kept, "_export", fail)
    with pytest.raises(ValueError, match="no"):
        kept_bundle()
    monkeypatch.setattr(kept, "_export", good)
    assert kept_bundle() == folder and len(exports) == 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [("echo begun >&2; echo the disk is full >&2; exit 1", "the disk is full"), ("exit 3", "the process ended with code 3")],
)
def test_a_process_that_could_not_export_says_why(tmp_path, monkeypatch, script, reason):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(kept, "work_dir", lambda: tmp_path)
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(NotWrittenError, match=f"the bundle 'whole' could not be exported: {reason}$"):
        kept_bundle()
    assert not (tmp_path / "bundles").exists()


def test_the_other_process_exports_this_package_from_any_folder(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncd / && exec {sys.executable} -P -c "import autoglm_lab; print(autoglm_lab.__file__)" > {tmp_path}/said\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(kept, "work_dir", lambda: tmp_path)
    monkeypatch.setattr("sys.executable", str(python))
    kept_bundle()
    assert (tmp_path / "said").read_text().strip() == autoglm_lab.__file__


def test_it_says_where_it_is(exports, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["kept", "--recipe", "int8"])
    kept.main()
    assert capsys.readouterr().out.strip() == str(kept_bundle("int8"))
