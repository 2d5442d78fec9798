"""The page in a real browser: it renders, complains of nothing and asks nothing of a network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from synthetic import write_run

from bench.core.records import Finding
from bench.report import build

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Every name resolves to nothing and every request goes to a closed port: it fails closed.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=127.0.0.1:9",
    "--enable-logging=stderr",
    "--v=0",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="needs the package chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    run = write_run(
        folder / "run",
        benchmarks=["latency", "memcpy", "matmul"],
        suite_name="<script>console.error('ran')</script>",
        findings=[Finding(name="x", level="warning", text="<img src=http://example.org/x.png>")],
    )
    return build([run], folder / "out")


def browse(page: Path, folder: Path, *options: str) -> str:
    """Open the page; return what the browser said on standard error."""
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *options]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=600, check=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("width", [1200, 400])
def test_page_renders_without_complaint(page, tmp_path, width):
    shot = tmp_path / "shot.png"
    said = browse(page, tmp_path, f"--window-size={width},4000", f"--screenshot={shot}")
    assert "CONSOLE" not in said
    with Image.open(shot) as picture:
        grey = picture.convert("L")
    assert grey.size == (width, 4000)
    # Text in the first screen, figures further down: neither half is blank.
    for top, bottom in ((0, 1000), (1000, 4000)):
        histogram = grey.crop((0, top, width, bottom)).histogram()
        dark = sum(histogram[:128])
        assert dark > 0.005 * width * (bottom - top)


def test_nothing_of_the_page_is_wider_than_a_phone(page, tmp_path):
    probe = tmp_path / "probe.html"
    # The policy of the page forbids scripts, so the probe takes it out of its copy.
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text())
    script = "document.title = document.documentElement.scrollWidth + ' of ' + innerWidth"
    probe.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    dom = browse(probe, tmp_path, "--window-size=500,2000", "--dump-dom")
    inner, outer = re.search(r"<title>(\d+) of (\d+)</title>", dom).groups()
    assert int(inner) <= int(outer)


def test_every_figure_is_decoded(page, tmp_path):
    probe = tmp_path / "probe.html"
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text())
    script = (
        "addEventListener('load', () => document.title = [...document.images]"
        ".filter(i => i.complete && i.naturalWidth > 300).length + ' of ' + document.images.length)"
    )
    probe.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    dom = browse(probe, tmp_path, "--dump-dom")
    decoded, images = re.search(r"<title>(\d+) of (\d+)</title>", dom).groups()
    assert decoded == images != "0"
