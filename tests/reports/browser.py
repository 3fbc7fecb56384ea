"""A page in a real browser without a screen: what it says, logs, and looks like."""

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium to look at the page with (apt-get install chromium)"
)
DARK = "--blink-settings=preferredColorScheme=0"


def browse(page: Path, *options: str) -> tuple[str, str]:
    """What the browser prints and logs."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--enable-logging=stderr", f"--user-data-dir={profile}", *options, page.as_uri()],
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    return done.stdout, done.stderr


def console(page: Path, *options: str) -> list[str]:
    """What the page wrote to the console, errors and refusals included."""
    _, log = browse(page, "--dump-dom", *options)
    return [line for line in log.splitlines() if "CONSOLE" in line]


def asked(page: Path, script: str, *options: str, width: int | None = None) -> Any:
    """What `script`, the body of a function, returns in a copy of the page, once it has loaded.

    With `width` the page is looked at through a frame of as many pixels: windows are wider.
    """
    ask = (
        "<script>addEventListener('load', () => { const said = (() => {"
        + script
        + "})(); const json = JSON.stringify(said);"
        + "if (parent === window) document.title = json; else parent.postMessage(json, '*'); });"
        + "</script>"
    )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "asked.html"
        text = page.read_text(encoding="utf-8")
        assert text.count("</body>") == 1
        copy.write_text(text.replace("</body>", ask + "</body>"), encoding="utf-8")
        out, log = browse(_framed(copy, width) if width else copy, "--dump-dom", *options)
    assert "CONSOLE" not in log, log
    found = re.search(r"<title>(.*?)</title>", out, re.DOTALL)
    assert found is not None
    return json.loads(unescape(found[1]))


def shot(page: Path, *options: str, width: int | None = None) -> Image.Image:
    """The page as it looks, in grey."""
    with tempfile.TemporaryDirectory() as folder:
        png = Path(folder) / "shot.png"
        if width:
            page = _framed(page, width, Path(folder))
        browse(page, f"--screenshot={png}", *options)
        with Image.open(png) as image:
            return image.convert("L")


def _framed(page: Path, width: int, folder: Path | None = None) -> Path:
    frame = (folder or page.parent) / "frame.html"
    frame.write_text(
        "<title></title><body style='margin:0'><script>addEventListener('message', (event) => "
        "{ document.title = event.data; });</script>"
        f"<iframe src='{page.as_uri()}' style='width:{width}px;height:900px;border:0'></iframe>"
    )
    return frame
