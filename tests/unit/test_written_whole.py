"""Files and folders are written by `atomic`: no other module puts anything into its place by hand."""

import ast

import pytest

from tests.unit.test_walls import PACKAGE, ROOT, modules

OURS = ("atomic", "marks")
# where something is written by hand, and why a kill leaves nothing half there that counts
BY_HAND = {
    "benchmarks.peers.runtimes.convert": "into the private folder that `peers.compare` gives",
    "cli.compress._compressed": "takes away the checkpoints of a recovery whose result is written",
    "cli.serve._access_log": "grows by lines",
    "device.browser.assets._fetch": "into the private folder that `runtime_files` gives",
    "model.processing.save_tokenizer": "into the private folder that each caller gives",
    "training.pipeline.thin_log": "into the private folder that `finish` gives",
    "training.trainer._log": "grows by rows, and whoever reads it leaves out one that was cut",
}
MODES, COPIES = set("wax+"), {"copy", "copy2", "copyfile", "copytree", "move"}


def names_in(node):
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def is_private(node):
    """True if a call gives what may be written at will: a place of `atomic`, a temporary folder, memory."""
    if not isinstance(node, ast.Call):
        return False
    call = ast.unparse(node.func)
    return call in ("atomic.folder", "atomic.file") or call.rpartition(".")[2] in ("TemporaryDirectory", "BytesIO", "StringIO")


def private_names(function):
    """Names in a function for private places, and for what comes from them."""
    private = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)} & {"part"}
    pairs = []
    for node in ast.walk(function):
        if isinstance(node, ast.With | ast.AsyncWith):
            pairs += [(item.optional_vars, item.context_expr) for item in node.items if item.optional_vars is not None]
        elif isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and node.value is not None:
            pairs.append((node.target, node.value))
        elif isinstance(node, ast.For | ast.comprehension):
            pairs.append((node.target, node.iter))
    for _ in pairs:
        for target, value in pairs:
            if any(map(is_private, ast.walk(value))) or names_in(value) & private:
                private |= names_in(target)
    return private


def target_of(call):
    """Find the expression for the place that a call writes to; None for one that writes to none."""
    function, arguments = call.func, [*call.args, *(each.value for each in call.keywords)]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = function.value if isinstance(function, ast.Attribute) else None
    holder = owner.id if isinstance(owner, ast.Name) else ""
    texts = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    if holder == "atomic" or not arguments:
        return None
    if name == "open" and any(len(text) < 4 and MODES & set(text) for text in texts):
        return owner if isinstance(arguments[0], ast.Constant) and owner is not None else arguments[0]
    if name in ("write_text", "write_bytes", "rename") or (name == "replace" and len(call.args) == 1 and not call.keywords):
        return owner
    if name == "save" and owner is not None and ast.unparse(owner) in ("torch", "torch.export"):
        return arguments[1]
    if (name == "save" and owner is not None) or name in ("savez", "savez_compressed", "savetxt", "save_pretrained", "rmtree"):
        return arguments[0]
    return arguments[1] if holder == "shutil" and name in COPIES else None


def by_hand(path, module):
    """List the calls of a module that write to other places than private ones: `module.function: call`."""
    tree = ast.parse(path.read_text("utf-8"))
    lines = []
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        private = private_names(function)
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            place = target_of(call)
            if place is not None and not names_in(place) & private and not any(map(is_private, ast.walk(place))):
                lines.append(f"{module.removeprefix(PACKAGE + '.')}.{function.name}: {ast.unparse(call)[:70]}")
    return lines


def test_nothing_is_put_into_its_place_by_hand():
    lines = [
        line
        for module, path in modules(ROOT).items()
        if module.removeprefix(PACKAGE + ".") not in OURS
        for line in by_hand(path, module)
    ]
    strangers = [line for line in lines if line.partition(":")[0] not in BY_HAND]
    assert not strangers, "write through `atomic.file`, `atomic.folder` or `atomic.write_text`:\n" + "\n".join(strangers)
    assert {line.partition(":")[0] for line in lines} == set(BY_HAND), "the list names what is written by hand, and no more"


@pytest.mark.parametrize(
    ("code", "is_by_hand"),
    [
        ("path.write_text('x')", True),
        ("(folder / 'x').write_bytes(b'')", True),
        ("open(path, 'w').write('x')", True),
        ("path.open('ab').close()", True),
        ("path.open(mode='x').close()", True),
        ("old.rename(new)", True),
        ("old.replace(new)", True),
        ("np.save(path, values)", True),
        ("torch.save(values, path)", True),
        ("picture.save(path)", True),
        ("model.save_pretrained(folder)", True),
        ("shutil.copytree(old, new)", True),
        ("shutil.rmtree(old)", True),
        ("path.open('rb').read()", False),
        ("'a'.replace('b', 'c')", False),
        ("atomic.write_text(path, 'x')", False),
        ("with atomic.file(path) as part: torch.save(values, part)", False),
        ("with atomic.file(path) as part, part.open('wb') as file: np.save(file, values)", False),
        ("with atomic.folder(path, 'x') as out: (out / 'x').write_text('x')", False),
        ("with TemporaryDirectory() as folder: Path(folder, 'x').write_text('x')", False),
        ("picture.save(file := io.BytesIO(), 'PNG')", False),
    ],
)
def test_a_planted_write_is_seen(code, is_by_hand, tmp_path):
    (tmp_path / "x.py").write_text(f"def write(path):\n    {code}\n")
    assert bool(by_hand(tmp_path / "x.py", f"{PACKAGE}.x")) == is_by_hand
