"""A phone in the browser, and the times that phones have sent. What is shown is computed in `latency_view`."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import traitlets
from PIL import Image

from autoglm_lab.device.browser.server import BrowserPhone
from autoglm_lab.widgets import latency_view as view
from autoglm_lab.widgets.base import LabWidget, source


class BrowserWidget(LabWidget):
    """See `autoglm_lab.widgets.browser`."""

    _esm = source("timeline.js", "browser.js")
    _css = source("timeline.css", "browser.css")

    url = traitlets.Unicode("").tag(sync=True)
    qr = traitlets.Unicode("").tag(sync=True)  # SVG; empty where only this machine reaches the page
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, served: BrowserPhone) -> None:
        self.served = served
        # A code with an address of this machine alone would send a phone to itself.
        here = ipaddress.ip_address(urlsplit(served.url).hostname or "").is_loopback
        super().__init__(url=served.url, qr="" if here else served.qr_svg())
        self.refresh()

    def refresh(self) -> None:
        """Take in the times that phones have sent since."""
        with self.hold_sync():
            self.rows, self.said = view.data(self.table()), self.sentence()

    def table(self) -> list[view.Row]:
        """A row for each device."""
        times_by_device: dict[str, list[view.Times]] = {}
        for latency in self.served.latencies:
            times_by_device.setdefault(str(latency["device"]), []).append(latency["ms"])
        return [view.Row.of(device, times) for device, times in times_by_device.items()]

    def picture(self) -> Image.Image:
        """The timeline of the devices, or the phone's first screen before there are any."""
        rows = self.table()
        if rows:
            return view.picture(rows)
        screen = self.served.phone.screenshot()
        return screen.resize((round(screen.width * 480 / screen.height), 480), Image.Resampling.LANCZOS)

    def sentence(self) -> str:
        """Size of the page, and the times that phones have sent."""
        weight = f"The agent on a page: {self.served.transfer_bytes / 1e6:.1f} MB to load once."
        return f"{weight} {view.sentence(self.table())}"

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: refresh."""
        if content.get("kind") != "refresh":
            raise ValueError(f"the page sent {content}, which asks for nothing known")
        self.refresh()
