"""The public phone agent, unmodified, with our server as its model and our `adb` as its phone: prints which tasks were done.

    OPEN_AUTOGLM_DIR=/path/to/Open-AutoGLM python tests/beside/open_autoglm.py [--bundle DIR] [--json]

Run it where the public agent can be imported: it needs openai and Pillow, and requests.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoglm_lab.phone.adb.front import FOLDER, install
from autoglm_lab.phone.adb.kept import made, read
from autoglm_lab.phone.tasks import recognise

# language of the phone, its seed, the task
TASKS = (
    ("en", 7, "open Settings"),
    ("en", 3, "open Clock"),
    ("en", 8, "turn on Bluetooth"),
    ("en", 10, "turn off Dark mode"),
    ("en", 7, "set an alarm for 7:30"),
    ("en", 4, "tell Mum see you tomorrow"),
    ("en", 7, "search Chrome for coffee"),
    ("en", 5, "is Wi-Fi on?"),
    ("en", 5, "what is on this screen?"),
    ("zh", 7, "打开设置"),
    ("zh", 3, "打开微信"),
    ("zh", 10, "请开启蓝牙"),
    ("zh", 4, "给妈妈发消息说生日快乐"),
    ("zh", 7, "定一个08:00的闹钟"),
    ("zh", 7, "在浏览器搜索天气"),
    ("zh", 5, "飞行模式开了吗？"),
)
MAX_STEPS = 12
DELAYS = (
    "KEYBOARD_SWITCH",
    "TEXT_CLEAR",
    "TEXT_INPUT",
    "KEYBOARD_RESTORE",
    "TAP",
    "DOUBLE_TAP",
    "LONG_PRESS",
    "SWIPE",
    "BACK",
    "HOME",
    "LAUNCH",
)


def run(agent, url, lang, seed, task):
    """One task on a fresh phone: whether it was done, what the agent said last, and all that it printed."""
    with tempfile.TemporaryDirectory() as folder:
        script = install(Path(folder), seed=seed, lang=lang)
        env = dict(os.environ, PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", PYTHONIOENCODING="utf-8")
        env |= {f"PHONE_AGENT_{name}_DELAY": "0" for name in DELAYS}
        env.pop(FOLDER, None)
        call = [sys.executable, "main.py", "--base-url", url, "--model", "autoglm-lab", "--max-steps", str(MAX_STEPS)]
        call += ["--lang", {"zh": "cn", "en": "en"}[lang], task]
        began = time.perf_counter()
        done = subprocess.run(
            call, cwd=agent, env=env, capture_output=True, text=True, encoding="utf-8", timeout=300, stdin=subprocess.DEVNULL
        )
        said = done.stdout.rpartition("\nResult: ")[2].strip()
        now = read(script.parent / "phone").phone.state
    wish, before = recognise(task), made(seed, lang=lang).state
    assert wish is not None and not wish.done(before, before, ""), f"{task}: nothing would have to be done"
    right = done.returncode == 0 and wish.done(before, now, said)
    took = round(time.perf_counter() - began, 1)
    return {"lang": lang, "task": task, "done": right, "said": said[-200:], "s": took, "printed": done.stdout + done.stderr}


def agent_folder():
    """The checkout of the public agent. SystemExit says how to name one."""
    folder = os.environ.get("OPEN_AUTOGLM_DIR", "")
    if not folder or not (Path(folder) / "main.py").is_file():
        sys.exit("set OPEN_AUTOGLM_DIR to a checkout of https://github.com/zai-org/Open-AutoGLM")
    return Path(folder).resolve()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bundle", type=Path, help="a bundle to serve (default: the shipped model, in PyTorch)")
    options.add_argument("--only", metavar="TEXT", help="only tasks with this text")
    options.add_argument("--json", action="store_true", help="print one JSON object, with all that the agent printed")
    given = options.parse_args()
    agent = agent_folder()
    import autoglm_lab as lab
    from autoglm_lab.serve import running

    with running(given.bundle or lab.load()) as url:
        results = []
        for lang, seed, task in TASKS:
            if given.only is None or given.only in task:
                results.append(found := run(agent, url, lang, seed, task))
                if not given.json:
                    print(
                        f"{'done    ' if found['done'] else 'not done'}  {found['s']:5.1f} s  {task}: {found['said']}", flush=True
                    )
    if given.json:
        print(json.dumps(results, ensure_ascii=False))
    else:
        print(f"{sum(found['done'] for found in results)} of {len(results)} tasks done")
    return 0 if all(found["done"] for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
