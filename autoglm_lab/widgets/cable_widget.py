"""A cable in a notebook, which is cut while answers pass. `cable_driver` asks over it, `cable_view` computes what is shown."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.engine import Engine
from autoglm_lab.widgets import cable_view as view
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.cable_driver import FAULTS, MOST_CUT_MS, POLICIES, Driver, Settings

PHONE_SEED = 7


class CableWidget(LabWidget):
    """See `autoglm_lab.widgets.cable`. What happens in other threads reaches the page as messages `{"live": ...}`."""

    _esm = source("cable.js")
    _css = source("cable.css")

    choices = traitlets.Dict().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)  # cable_driver.Settings
    requests = traitlets.List(traitlets.Dict()).tag(sync=True)  # view.Request.data of the last ones
    state = traitlets.Dict().tag(sync=True)  # tally, cable, breaker, and the request that is under way
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, device: Engine, cloud: Engine, task: str, image: Any, apart_s: float) -> None:
        self.driver: Driver | None = None
        self._showing = threading.RLock()
        self.phone = SimulatedPhone(PHONE_SEED)
        super().__init__(choices={"policy": [*POLICIES], "fault": [*FAULTS], "most_cut_ms": MOST_CUT_MS})
        self.driver = Driver(device, cloud, task, image, apart_s, self.phone.perform, self._refresh)
        self._refresh()

    @property
    def tally(self) -> view.Tally:
        """Ends of the requests so far."""
        return self._opened().tally

    def ask(self) -> view.Request:
        """Ask once under the present settings, and wait until nothing of the request is open any more; returns the request."""
        driver = self._opened()
        driver.start()
        return driver.wait()

    def set(self, **settings: Any) -> None:
        """Change `policy`, `fault` or `cut_at_ms` of the next request. ValueError for an unknown setting or value."""
        unknown = {*settings} - {*asdict(Settings())}
        if unknown:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}; there are {', '.join(asdict(Settings()))}")
        driver = self._opened()
        driver.settings = replace(driver.settings, **settings)
        self._refresh()

    def cut(self) -> None:
        """Cut the cable now, until `mend`."""
        self._opened().cut()

    def mend(self) -> None:
        """Plug the cable in again."""
        self._opened().mend()

    def close(self) -> None:
        """Close cable, server and threads, then the widget."""
        if self.driver is not None:
            self.driver.close()
        super().close()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: ask, cut, mend, or set (`policy`, `fault`, `cut_at_ms`)."""
        match content.get("kind"):
            case "ask":
                self._opened().start()  # the page goes on meanwhile: it may cut
            case "cut":
                self.cut()
            case "mend":
                self.mend()
            case "set":
                self.set(**{name: value for name, value in content.items() if name not in ("kind", "id")})
            case other:
                raise ValueError(f"the page asked for {other!r}")

    def picture(self) -> Image.Image:
        """The pieces of both engines, request by request."""
        return view.picture(self._opened().requests, self.tally)

    def sentence(self) -> str:
        """Say how the last requests went, and how all of them ended."""
        return view.sentence(self._opened().requests, self.tally)

    def _opened(self) -> Driver:
        if self.driver is None:
            raise RuntimeError("the cable is not open yet")
        return self.driver

    def _refresh(self) -> None:
        """Show the present state; called in any thread."""
        driver = self.driver
        if driver is None:
            return
        with self._showing:
            now = driver.current
            state = {
                "tally": asdict(driver.tally),
                "cut": driver.link.is_cut,
                "breaker": driver.breaker.state,
                "now": now.data() if now else None,
            }
            if not driver.is_running:
                self.requests = [request.data() for request in driver.requests[-view.SHOWN :]]
                self.settings, self.state, self.said = asdict(driver.settings), state, self._words(driver)
                self.send_state(["requests", "settings", "state", "said"])
            self.send({"live": state})

    def _words(self, driver: Driver) -> str:
        last = [driver.requests[-1].sentence()] if driver.requests else ["Nothing was asked yet."]
        return " ".join([*last, *(["The cable is cut."] if driver.link.is_cut else [])])
