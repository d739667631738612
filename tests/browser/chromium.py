"""A headless Chromium, driven over its DevTools protocol: enough to look at one page."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

TIMEOUT_S = 60
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
_TROUBLE = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded",
            "Page.javascriptDialogOpening"}  # fmt: skip


class Tab:
    """One page: opened, measured, and all that it complained of and asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @property
    def trouble(self) -> list[dict[str, Any]]:
        """Console messages, exceptions, dialogs and what the page's own policy forbade."""
        return [event for event in self.events if event["method"] in _TROUBLE]

    @property
    def requested(self) -> list[str]:
        """Every address that was asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a DevTools method and return its result."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=TIMEOUT_S))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                return dict(message["result"])
            self.events.append(message)

    def open(self, path: Path, *, width: int, dark: bool = False) -> None:
        """Show a file in a window of so many pixels, as a phone does where it is narrow."""
        self.call("Emulation.setDeviceMetricsOverride",
                  width=width, height=800, deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = "dark" if dark else "light"
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv(timeout=TIMEOUT_S)))

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression gives."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """Start a browser of its own and yield its only tab."""
    program = shutil.which("chromium") or "chromium"
    command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            with connect(_page_of(browser, profile), max_size=None) as socket:
                yield Tab(socket)
        finally:
            browser.kill()


def _page_of(browser: subprocess.Popen[bytes], profile: Path) -> str:
    """Return the address of the only tab, once the browser has written where it listens."""
    told = profile / "DevToolsActivePort"
    until = time.monotonic() + TIMEOUT_S
    while not (told.exists() and told.read_text().count("\n")):
        assert browser.poll() is None, f"chromium ended with {browser.returncode}"
        assert time.monotonic() < until, f"chromium did not listen within {TIMEOUT_S} s"
        time.sleep(0.05)
    port = told.read_text().splitlines()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_S) as answer:
        pages = json.load(answer)
    return next(str(p["webSocketDebuggerUrl"]) for p in pages if p["type"] == "page")
