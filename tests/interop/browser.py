"""A headless Chromium on a machine of a lab, spoken to by the DevTools protocol over a pair of pipes.

The pipes (descriptors 3 and 4, JSON with a zero byte behind) need no port, no driver and no library, and are closed
when this process ends, which ends the browser. Source: https://chromedevtools.github.io/devtools-protocol/.
"""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from typing import Any, Final

from ntvl.lab.program import build_environment
from ntvl.lab.stage import Stage

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # the lab runs as root
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    # Host candidates as they are, not hidden behind mDNS names.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--force-webrtc-ip-handling-policy=default",
)


class Browser:
    """Is one browser with one empty page, from `with` to the end of it."""

    def __init__(self, stage: Stage, machine: str) -> None:
        self._namespace = stage.namespace(machine)
        self._number = 0
        self._session = ""
        self._rest = b""

    def __enter__(self) -> "Browser":
        self._profile = tempfile.TemporaryDirectory(prefix="ntvl-browser-", ignore_cleanup_errors=True)
        theirs_in, self._in = os.pipe()
        self._out, theirs_out = os.pipe()
        profile = f"--user-data-dir={self._profile.name}"
        # The shell gives the pipes the numbers that the browser wants.
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "browser"]
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self._namespace, *shell, "chromium", *_FLAGS, profile, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=build_environment(),
            process_group=0,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser and all its processes."""
        for descriptor in (self._in, self._out):
            os.close(descriptor)
        try:
            self._process.wait(3.0)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._profile.cleanup()

    def run(self, script: str, timeout_s: float = 20.0) -> Any:
        """Returns the value of an expression in the page, awaited where it is a promise.

        Raises:
            AssertionError: the script failed, with what it said; the browser ended, or was silent for too long.
        """
        answer = self._ask(
            "Runtime.evaluate", timeout_s, expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def _ask(self, method: str, timeout_s: float = 20.0, **params: object) -> dict[str, Any]:
        self._number += 1
        question: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            question["sessionId"] = self._session
        os.write(self._in, json.dumps(question).encode() + b"\0")
        until = time.monotonic() + timeout_s
        while True:
            message = self._read(until, method)
            if message.get("id") == self._number:
                assert "result" in message, message
                return message["result"]

    def _read(self, until: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            readable, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
            assert readable, f"the browser did not answer to {what} in time"
            data = os.read(self._out, 65536)
            assert data, "the browser ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
