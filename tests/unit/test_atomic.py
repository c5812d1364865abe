"""Writing whole: nobody's files are lost, two writers do not mix, a kill leaves the old or the new, a full disk is one line."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from multiprocessing import get_context

import pytest

from autoglm_lab import atomic
from autoglm_lab.marks import KEPT, MARK, NotWrittenError, read_mark, read_whole, verify


def write(place, content="new", kind="bundle", names=("a.txt", "below/b.txt")):
    with atomic.folder(place, kind) as part:
        for name in names:
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_text(content)


def tree(place):
    return {path.relative_to(place).as_posix(): path.read_text() for path in sorted(place.rglob("*")) if path.is_file()}


def contents(place):
    return {name: text for name, text in tree(place).items() if name != MARK}


def test_what_was_not_written_by_us_is_refused_and_untouched(tmp_path):
    place = tmp_path / "x"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(NotWrittenError, match=r"thesis\.txt and was not written by autoglm-lab"):
        write(place)
    assert tree(tmp_path) == {"x/thesis.txt": "years of work"}


@pytest.mark.parametrize("before", ["missing", "empty", "ours"])
def test_new_empty_and_our_own_folders_are_written(before, tmp_path):
    place = tmp_path / "deep" / "x"
    if before == "empty":
        place.mkdir(parents=True)
    elif before == "ours":
        write(place, "old", names=("a.txt", "gone.txt"))
    write(place)
    assert contents(place) == {"a.txt": "new", "below/b.txt": "new"}
    assert [path.name for path in place.parent.iterdir()] == ["x"]


def test_what_others_put_into_our_folder_stays(tmp_path):
    place = tmp_path / "x"
    write(place, "old", names=("a.txt", "run.py", "below/b.txt"))
    (place / "notes.txt").write_text("mine")
    (place / "below" / "deep").mkdir()
    (place / "below" / "deep" / "c.txt").write_text("mine")
    (place / "nothing").mkdir()
    (place / "link").symlink_to("elsewhere")
    (place / "run.py").write_text("changed by me")
    write(place, names=("a.txt", "run.py", "below/b.txt"))
    assert contents(place) == {
        "a.txt": "new",
        "below/b.txt": "new",
        "below/deep/c.txt": "mine",
        "notes.txt": "mine",
        "run.py": "new",
        f"run.py{KEPT}": "changed by me",
    }
    assert (place / "nothing").is_dir()
    assert os.readlink(place / "link") == "elsewhere"
    assert set(read_mark(place).files) == {"a.txt", "run.py", "below/b.txt"}


def test_a_file_in_the_way_of_a_new_folder_is_kept(tmp_path):
    place = tmp_path / "x"
    write(place, "old", names=("a.txt",))
    (place / "below").write_text("mine")
    write(place)
    assert contents(place) == {"a.txt": "new", "below/b.txt": "new", f"below{KEPT}": "mine"}


def test_another_kind_is_not_replaced(tmp_path):
    write(tmp_path / "x", kind="model")
    with pytest.raises(NotWrittenError, match="holds a model, which a bundle does not replace"):
        write(tmp_path / "x")


def test_a_damaged_mark_is_refused(tmp_path):
    write(tmp_path / "x")
    for text in ("", "[]", '{"kind": 1}', '{"kind": "bundle", "files": {"a": 3}}', "[" * 100_000):
        (tmp_path / "x" / MARK).write_text(text)
        with pytest.raises(NotWrittenError, match="damaged"):
            write(tmp_path / "x")


def test_a_linked_folder_stays_a_link(tmp_path):
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == {"a.txt": "new", "below/b.txt": "new"}


def test_the_folder_one_stands_in_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    for place in (".", ".."):
        with pytest.raises(NotWrittenError, match="the folder you are in"):
            atomic.check(place, "bundle")


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(NotWrittenError, match="is a file"):
        write(tmp_path / "x")
    with pytest.raises(NotWrittenError, match="is a folder"):
        atomic.write_text(tmp_path, "")
    os.mkfifo(tmp_path / "pipe")
    for special in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(NotWrittenError, match="a device or a pipe"):
            atomic.write_text(special, "")


def _fail(writing, name):
    with writing as part:
        (part / name).write_text("new")
        raise RuntimeError


def test_an_error_leaves_everything_as_it_was(tmp_path):
    write(tmp_path / "x", "old")
    before = tree(tmp_path)
    for place in (tmp_path / "x", tmp_path / "deep" / "er"):
        with pytest.raises(RuntimeError):
            _fail(atomic.folder(place, "bundle"), "a.txt")
    with pytest.raises(RuntimeError):
        _fail(atomic.file(tmp_path / "x" / "a.txt"), "")
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_disk_refuses_is_one_line(number, tmp_path):
    with (
        pytest.raises(NotWrittenError, match=rf"x cannot be written: {os.strerror(number)}"),
        atomic.folder(tmp_path / "x", "bundle"),
    ):
        raise OSError(number, "whatever")
    assert not list(tmp_path.iterdir())


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm"), atomic.folder(tmp_path / "x", "cache", cache=True):
        raise FileNotFoundError("npm cannot fetch it")


def test_a_file_too_large_for_the_disk_is_refused_by_a_real_system(tmp_path):
    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    code = f"from autoglm_lab import atomic; atomic.write_text({str(tmp_path / 'x')!r}, 'z' * 5000)"
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=small_disk, capture_output=True, text=True, check=False)
    assert "cannot be written: File too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_room_is_checked_before_slow_work(tmp_path):
    atomic.check(tmp_path / "x", "bundle", needs_bytes=1)
    with pytest.raises(NotWrittenError, match="MB free"):
        atomic.check(tmp_path / "x" / "y", "bundle", needs_bytes=1 << 60)
    if os.path.ismount("/proc"):
        with pytest.raises(NotWrittenError, match="read-only"):
            atomic.check("/proc/self/x", "bundle")


def test_some_files_are_replaced_together(tmp_path):
    write(tmp_path / "x", "old")
    (tmp_path / "x" / "notes.txt").write_text("mine")
    atomic.update(tmp_path / "x", {"a.txt": "new", "report.json": "{}"})
    assert contents(tmp_path / "x") == {"a.txt": "new", "below/b.txt": "old", "notes.txt": "mine", "report.json": "{}"}
    verify(tmp_path / "x", ("a.txt", "below/b.txt", "report.json"))
    assert "notes.txt" not in read_mark(tmp_path / "x").files
    (tmp_path / "other").mkdir()
    with pytest.raises(NotWrittenError, match="was not written by"):
        atomic.update(tmp_path / "other", {"a.txt": "new"})


def test_files_are_compared_with_the_mark(tmp_path):
    write(tmp_path / "x")
    (tmp_path / "x" / "a.txt").write_text("NEW")
    with pytest.raises(ValueError, match=r"a\.txt of x was changed"):
        verify(tmp_path / "x", ("a.txt",))
    (tmp_path / "x" / "a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no a\.txt"):
        verify(tmp_path / "x", ("a.txt",))
    verify(tmp_path / "x", ("below/b.txt", "unknown.txt"))
    (tmp_path / "x" / "unknown.txt").write_text("planted")
    with pytest.raises(ValueError, match=r"unknown\.txt of x was added after it was written"):
        verify(tmp_path / "x", ("below/b.txt", "unknown.txt"))
    verify(tmp_path / "x", ("below/b.txt",))
    verify(tmp_path, ("a.txt",))  # no mark: written by somebody else, or before there were marks


def _reader(place, *exchanges):
    """Make a reader of two files of a folder, between which another version takes its place: once for each of `exchanges`."""
    left = list(exchanges)

    def read():
        first = (place / "a.txt").read_text()
        if left:
            left.pop(0)()
        return first, (place / "below" / "b.txt").read_text()

    return read


def test_a_folder_that_is_exchanged_while_it_is_read_is_read_anew(tmp_path):
    place, names = tmp_path / "x", ("a.txt", "below/b.txt")
    write(place, "old")
    assert read_whole(place, names, _reader(place)) == ("old", "old")
    assert read_whole(place, names, _reader(place, lambda: write(place, "new"))) == ("new", "new")
    gap = _reader(place, lambda: write(place, "less", names=["a.txt", "below/c.txt"]), lambda: write(place))
    assert read_whole(place, names, gap) == ("new", "new")
    with pytest.raises(ValueError, match="x is written again and again"):
        read_whole(place, names, _reader(place, *[lambda: write(place)] * 50))
    with pytest.raises(FileNotFoundError, match=r"b\.txt"):
        read_whole(place, names, _reader(place, (place / "below" / "b.txt").unlink))
    assert read_whole(tmp_path, ("unknown.txt",), lambda: 3) == 3  # no mark


def _hold(place, ready, go):
    with atomic.lock(place):
        ready.set()
        go.wait(60)


def test_the_second_writer_waits_or_says_who_writes(tmp_path):
    context = get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "x", ready, go))
    other.start()
    assert ready.wait(60)
    with pytest.raises(NotWrittenError, match=f"process {other.pid} is writing"), atomic.lock(tmp_path / "x", patience_s=0):
        pass
    with (
        pytest.raises(NotWrittenError, match=f"process {other.pid} is writing"),
        atomic.folder(tmp_path / "x", "b", patience_s=0.1),
    ):
        pass
    go.set()
    write(tmp_path / "x")
    other.join()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_lock_may_be_taken_again_inside(tmp_path):
    with atomic.lock(tmp_path / "x"):
        write(tmp_path / "x")
        with atomic.lock(tmp_path / "x", patience_s=0):
            pass
        assert (tmp_path / ".x.lock").exists()
    assert not (tmp_path / ".x.lock").exists()


def _write_many(place, content, times):
    for _ in range(times):
        write(place, content, names=[f"{number}.txt" for number in range(8)])


def test_two_writers_never_mix(tmp_path):
    context = get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path / "x", name, 25)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "x").exists():
            handle = os.open(tmp_path / "x", os.O_RDONLY)  # one version of the folder, whatever takes its place meanwhile
            try:
                texts = set()
                for number in range(8):
                    with open(os.open(f"{number}.txt", os.O_RDONLY, dir_fd=handle)) as file:
                        texts.add(file.read())
                assert len(texts) == 1
                seen |= texts
            except FileNotFoundError:
                pass  # that version was just cleared away
            finally:
                os.close(handle)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(set(contents(tmp_path / "x").values())) == 1
    assert seen == {"one", "two"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("moment", ["write_mark", "carry", "_switch", "_exchange", "_remove", "Path.rename"])
def test_a_kill_leaves_the_old_or_the_new_and_the_next_writer_clears_up(moment, exchange, tmp_path):
    place = tmp_path / "x"
    write(place, "old")
    (place / "notes.txt").write_text("mine")
    code = f"""
import os, signal
from autoglm_lab import atomic
def die(name):
    module = atomic.Path if name == "Path.rename" else atomic
    inner = getattr(module, name.rpartition(".")[2])
    def deadly(*a, **k):
        result = inner(*a, **k)
        os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name.rpartition(".")[2], deadly)
if not {exchange}:
    atomic._exchange = lambda one, other: False
die({moment!r})
with atomic.folder({str(place)!r}, "bundle") as part:
    (part / "a.txt").write_text("new")
    (part / "below").mkdir()
    (part / "below" / "b.txt").write_text("new")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 0), done.stderr
    if exchange:  # no moment without a folder
        assert set(contents(place).values()) in ({"old", "mine"}, {"new", "mine"})
    write(place, "next")
    assert contents(place) == {"a.txt": "next", "below/b.txt": "next", "notes.txt": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


POOL = """
    with ProcessPoolExecutor(2, get_context("METHOD"), end_with_parent) as pool:
        list(pool.map(job, range(2)))
"""
SEARCH = """
    from autoglm_lab.compress.explore import search
    from autoglm_lab.compress.recipe import Recipe
    search([Recipe(bits=4), Recipe(bits=8)], job, FOLDER / "reports")
"""
CROWDS = {"spawn": POOL.replace("METHOD", "spawn"), "fork": POOL.replace("METHOD", "fork"), "search": SEARCH}


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_worker_ends_when_its_parent_is_killed(crowd, tmp_path):
    code = f"""
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from autoglm_lab.workers import end_with_parent
FOLDER = Path({str(tmp_path)!r})
def job(_):
    (FOLDER / str(os.getpid())).touch()
    time.sleep(600)
if __name__ == "__main__":{CROWDS[crowd]}
"""
    (tmp_path / "script.py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    until = time.monotonic() + 120
    while len(pids := [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 60
    while any(_runs(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(pids) == 2
    assert not any(_runs(pid) for pid in pids)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = f"/proc/{pid}/stat"
    return not os.path.exists(stat) or open(stat).read().rpartition(")")[2].split()[0] != "Z"


def test_a_mark_lists_what_was_written(tmp_path):
    write(tmp_path / "x")
    facts = json.loads((tmp_path / "x" / MARK).read_text())
    assert facts["kind"] == "bundle"
    assert {name: file["bytes"] for name, file in facts["files"].items()} == {"a.txt": 3, "below/b.txt": 3}
