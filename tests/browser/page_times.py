"""What the phone in a browser costs: `python -m tests.browser.page_times BUNDLE` prints megabytes to load and seconds, as JSON.

Every load is a first one: nothing is kept from the load before. It needs Chromium, as the tests do.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from playwright.sync_api import sync_playwright

from autoglm_lab.device.browser.server import BrowserPhone
from autoglm_lab.evaluation.machine import fast_maths
from autoglm_lab.evaluation.timing import Spread
from tests.browser.driver import FLAGS, find_chromium

LOADS = 7
FIRST_ANSWER = """async () => {
  await phone.ready;
  const loaded = performance.now();
  const picture = document.getElementById('picture');
  const context = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight).getContext('2d');
  context.drawImage(picture, 0, 0);
  const {data, width, height} = context.getImageData(0, 0, picture.naturalWidth, picture.naturalHeight);
  const image = {data: new Uint8Array(data.buffer), width, height};
  await phone.answer({task: 'open Settings', image});
  return [loaded / 1000, performance.now() / 1000];
}"""


def main(folder: str) -> None:
    """Measure a bundle."""
    with BrowserPhone(folder) as served, sync_playwright() as playwright:
        megabytes = served.transfer_bytes / 1e6  # packs all files, so that the server does not do it while a page waits
        program = find_chromium()
        assert program is not None, "Chromium is missing"
        chromium = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        times = []
        for _ in range(LOADS):
            context = chromium.new_context()
            page = context.new_page()
            page.goto(served.url)
            page.wait_for_function("window.phone")
            times.append(page.evaluate(FIRST_ANSWER))
            context.close()
        chromium.close()
    loaded, answered = zip(*times, strict=True)
    found = {"page_mb": Spread.of([megabytes]), "page_ready_s": Spread.of(loaded), "page_first_answer_s": Spread.of(answered)}
    print(json.dumps({"cpu_flags": fast_maths(), **{name: asdict(spread) for name, spread in found.items()}}))


if __name__ == "__main__":
    main(sys.argv[1])
