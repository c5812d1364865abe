"""What a machine has, what a model needs, and the sentence that helps where the two do not meet."""

import json
import socket
from dataclasses import replace

import pytest

from autoglm_lab.cli import main
from autoglm_lab.device.preflight import PHONE_9B, Machine, bundle_needs, examine, model_needs

GOOD = Machine(
    "Linux",
    "x86_64",
    "glibc 2.39",
    (3, 12),
    4,
    ("avx2", "avx512_vnni"),
    8 * 10**9,
    6 * 10**9,
    50 * 10**9,
    {"numpy": "2.4", "onnxruntime": "1.31"},
)
SMALL = bundle_needs("int8", 17_000_000, 4096)


def line(machine, what, needs=SMALL, port=None):
    return next(found for found in examine(machine, needs, port) if found.what == what)


def test_a_good_machine_passes():
    found = examine(GOOD, SMALL, 8000)
    assert found.verdict == "pass" and not any(finding.remedy for finding in found)
    assert {"ABI", "Python", "numpy", "cores", "integer maths", "memory", "storage", "port"} <= {f.what for f in found}


@pytest.mark.parametrize(
    ("change", "what", "verdict", "said"),
    [
        ({"abi": "armv7l"}, "ABI", "fail", "64-bit"),
        ({"libc": ""}, "ABI", "fail", "glibc userland"),
        ({"python": (3, 10)}, "Python", "fail", "install 3.11"),
        ({"versions": {"onnxruntime": None}}, "onnxruntime", "fail", "pip install onnxruntime"),
        ({"cores": 1}, "cores", "warn", "twice as long"),
        ({"flags": ("avx2",)}, "integer maths", "warn", "little time"),
        ({"flags": ()}, "instructions", "warn", "autoglm-lab bench"),
        ({"free_memory": 10**8}, "memory", "warn", "close other programs"),
        ({"memory": 10**8, "free_memory": 10**8}, "memory", "fail", "fewer bits"),
        ({"free_storage": 30_000_000}, "storage", "fail", "delete something"),
    ],
)
def test_what_is_missing_is_said_with_its_remedy(change, what, verdict, said):
    finding = line(replace(GOOD, **change), what)
    assert finding.verdict == verdict and said in finding.remedy
    assert examine(replace(GOOD, **change), SMALL).verdict == verdict


def test_arm_phones_pass_with_their_own_instructions():
    phone = replace(GOOD, abi="aarch64", flags=("asimd", "asimddp", "i8mm"))
    assert line(phone, "integer maths").found == "asimddp, i8mm"
    assert examine(phone, SMALL).verdict == "pass"


def test_nine_billion_weights_are_reckoned_up():
    four, sixteen = (model_needs("9 B", bits=bits, **PHONE_9B) for bits in (4.5, 16))
    assert four.storage == pytest.approx(5.06e9, rel=0.01) and sixteen.storage == 18 * 10**9
    assert "40,960 bytes" in four.arithmetic[1]
    assert line(GOOD, "memory", sixteen).verdict == "fail" and line(GOOD, "memory", four).verdict == "warn"
    with pytest.raises(ValueError, match="at least 1"):
        model_needs("none", parameters=0, bits=4, layers=1, key_value_heads=1, head_dim=1, tokens=1)


def test_a_table_for_notebooks():
    table = examine(replace(GOOD, cores=1), SMALL)._repr_markdown_()
    assert "| ! warn | cores | 1 | answers take about twice as long on one |" in table


def test_the_doctor_looks_at_this_machine(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["doctor", "--port", str(port), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "fail" and {f["what"]: f["verdict"] for f in told["findings"]}["port"] == "fail"
    assert main(["doctor", "--bits", "16"]) in (0, 1)
    assert "9 billion weights x 16 bits / 8 = 18.0 GB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "said"), [(["--port", "0"], "1 to 65535"), (["--bundle", "x", "--bits", "4"], "not both"), (["--bundle", "no"], "no")]
)
def test_bad_questions_are_refused(asked, said, capsys):
    assert main(["doctor", *asked]) == 2
    assert said in capsys.readouterr().err
