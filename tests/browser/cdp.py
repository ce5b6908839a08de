"""Drives headless Chromium over the DevTools protocol's pipe, with the standard library alone."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

TIMEOUT = 120  # seconds for anything; CI has two slow cores

FLAGS = [
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-extensions", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-default-apps", "--hide-scrollbars", "--mute-audio",
    "--force-color-profile=srgb", "--force-device-scale-factor=1", "--lang=en-US",
]

# windowsVirtualKeyCode of keys that do not type, and what Enter and Space type.
KEY_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
             "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
KEY_TEXT = {"Enter": "\r", " ": " "}


class Failure(Exception):
    """The browser refused, broke or was too slow."""


class Browser:
    """One browser with one page. Events are kept in `events` in the order in which they came."""

    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="attnlab-browser-")
        # Moved up, so that giving the child its 3 and 4 cannot overwrite one of them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (*os.pipe(), *os.pipe())]
        child_in, self.to_child, self.from_child, child_out = ends

        def give():
            os.dup2(child_in, 3)
            os.dup2(child_out, 4)

        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        self.log = open(os.path.join(self.profile, "log"), "w+b")
        self.process = subprocess.Popen([program, *FLAGS, *sandbox, f"--user-data-dir={self.profile}", "about:blank"],
                                        preexec_fn=give, pass_fds=(3, 4), stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        os.close(child_in)
        os.close(child_out)
        self.buffer = b""
        self.last_id = 0
        self.session = None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(domain + ".enable")

    def close(self):
        try:
            self.session = None
            self.send("Browser.close")
            self.process.wait(TIMEOUT)
        except (Failure, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        for end in (self.to_child, self.from_child):
            os.close(end)
        self.log.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def send(self, method, **parameters):
        """Sends a command and returns its result."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to_child, data):]
        while True:
            reply = self._receive(method)
            if reply.get("id") == self.last_id:
                if "error" in reply:
                    raise Failure(f"{method}: {reply['error']}")
                return reply["result"]
            self.events.append(reply)

    def _receive(self, what):
        end = time.monotonic() + TIMEOUT
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.from_child], [], [], max(0, end - time.monotonic()))
            data = os.read(self.from_child, 1 << 20) if ready else b""
            if not data:
                self.log.seek(0)
                log = self.log.read().decode(errors="replace")[-3000:]
                raise Failure(f"{what}: {'the browser closed' if ready else 'no answer'}\n{log}")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    # The page.

    def open(self, path):
        self.events.clear()
        self.send("Page.navigate", url="file://" + os.path.abspath(path))
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive("load of " + path))

    def value(self, expression):
        """Value of a JavaScript expression; promises are awaited."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Failure(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, condition):
        """Until a condition holds, looked at in each frame."""
        held = self.value(f"""new Promise(done => {{ const end = performance.now() + {TIMEOUT * 900};
            const look = () => ({condition}) ? done(true) : performance.now() > end ? done(false)
              : requestAnimationFrame(look);
            look(); }})""")
        if not held:
            raise Failure("never true: " + condition)

    def settle(self):
        """Until what was asked for has been drawn."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def errors(self):
        """Console errors, warnings, log entries and exceptions since the page was opened."""
        found = []
        for event in self.events:
            method, parameters = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"])
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(parameters["args"])
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"])
        return found

    def requests(self):
        return [event["params"]["request"]["url"] for event in self.events
                if event["method"] == "Network.requestWillBeSent"]

    # What a person does.

    def move(self, x, y, buttons=0):
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=buttons,
                  button="left" if buttons else "none")
        self.settle()

    def press(self, x, y):
        self.move(x, y)
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", buttons=1, clickCount=1)

    def release(self, x, y):
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)
        self.settle()

    def click(self, x, y):
        self.press(x, y)
        self.release(x, y)

    def wheel(self, x, y, delta):
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)
        self.settle()

    def touch(self, kind, *points):
        self.send("Input.dispatchTouchEvent", type=kind,
                  touchPoints=[{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)])
        self.settle()

    def key(self, key, shift=False):
        text = KEY_TEXT.get(key, key if len(key) == 1 else "")
        code = KEY_CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)
        self.settle()

    # The surroundings.

    def size(self, width, height, touch=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if touch else 1,
                  mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.settle()

    def media(self, **features):
        """media(prefers_color_scheme="dark"); without arguments back to normal."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=listed)
        self.settle()

    def screenshot(self, path, whole=False):
        """PNG of the viewport or of the whole page; returns its bytes."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        png = base64.b64decode(data)
        with open(path, "wb") as file:
            file.write(png)
        return png
