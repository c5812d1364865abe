"""What was tried on the server, suite by suite: runs the tests and writes data/reports/serve/conformance.json.

.venv/bin/python -m tests.beside.conformance
With OPEN_AUTOGLM_DIR, a checkout of the public phone agent, its tasks are in it too.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "data" / "reports" / "serve" / "conformance.json"
HERE = "tests/unit/test_serve_"
SUITES = {
    "langchain-tests, units": [f"{HERE}conformance.py", "-k", "TestLangChainUnits"],
    "langchain-tests, integration": [f"{HERE}conformance.py", "-k", "TestLangChainIntegration"],
    "schemathesis on the interface": [f"{HERE}conformance.py", "-k", "schemathesis"],
    "broken and hostile input": [f"{HERE}conformance.py", "-k", "not LangChain and not schemathesis"],
    "openai, sync, async, stream, raw": [f"{HERE}api.py"],
    "batches against one at a time": [f"{HERE}batching.py"],
    "clients of this package": [f"{HERE}clients.py"],
    "adb, and a phone behind it": ["tests/unit/test_adb.py", "-k", "not public"],
}


def counted(report):
    """How many cases passed, were skipped and failed, in a report of pytest."""
    counts = Counter()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        counts["failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"] += 1
    return {kind: counts[kind] for kind in ("passed", "skipped", "failed")}


def main():
    """Run every suite, one after the other."""
    found = {}
    with tempfile.TemporaryDirectory() as room:
        for name, arguments in SUITES.items():
            report = Path(room) / "report.xml"
            subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments], cwd=ROOT, check=False)
            found[name] = counted(report)
            report.unlink()
        if os.environ.get("OPEN_AUTOGLM_DIR"):
            told = subprocess.run(
                [sys.executable, "tests/beside/open_autoglm.py", "--json"], cwd=ROOT, check=False, capture_output=True, text=True
            ).stdout
            tasks = json.loads(told)
            done = sum(task["done"] for task in tasks)
            found["Open-AutoGLM, unmodified: tasks"] = {"passed": done, "skipped": 0, "failed": len(tasks) - done}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(OUT.read_text("utf-8"))
    return any(suite["failed"] for suite in found.values())


if __name__ == "__main__":
    sys.exit(main())
