"""Drive a headless Chromium by its DevTools protocol."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tornado.websocket import websocket_connect

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = """
--headless --no-sandbox --disable-gpu --remote-debugging-port=0 --window-size=1300,1000
--no-first-run --disable-background-networking --disable-component-update
""".split()  # noqa: SIM905


class Tab:
    """A page in a browser: its messages, and the requests that it made."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.count, self.events = socket, 0, []

    async def send(self, method: str, **params: Any) -> Any:
        self.count += 1
        await self.socket.write_message(
            json.dumps({"id": self.count, "method": method, "params": params})
        )
        while True:
            said = json.loads(await self.socket.read_message())
            if said.get("id") == self.count:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    async def evaluate(self, code: str) -> Any:
        found = await self.send("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, code: str, seconds: float = 20.0) -> Any:
        """Return the first value of an expression that is true."""
        for _ in range(int(seconds / 0.05)):
            if value := await self.evaluate(code):
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"never true: {code}")

    def requests(self) -> list[str]:
        sent = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in sent]

    def faults(self) -> list[str]:
        return [str(e) for e in self.events if e["method"] == "Runtime.exceptionThrown"]


def browse(page: Path, visit: Any) -> Any:
    """Open a page, and return what ``visit(tab)`` returns."""
    home = page.parent / "browser"
    command = [BROWSER, *FLAGS, f"--user-data-dir={home}", "about:blank"]
    environment = os.environ | {"HOME": str(page.parent)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            port = next(m[1] for m in map(_port_of, process.stderr) if m)
            return asyncio.run(_visit(port, page, visit))
        finally:
            process.terminate()


def _port_of(line: str) -> Any:
    return re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line)


async def _visit(port: str, page: Path, visit: Any) -> Any:
    with urlopen(f"http://127.0.0.1:{port}/json") as answer:
        targets = json.load(answer)
    url = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
    tab = Tab(await websocket_connect(url, max_message_size=1 << 26))
    for domain in ("Network", "Runtime", "Page"):
        await tab.send(f"{domain}.enable")
    await tab.send("Page.navigate", url=page.as_uri())
    found = await visit(tab)
    tab.socket.close()
    await asyncio.sleep(0.1)  # for the socket to close
    return found
