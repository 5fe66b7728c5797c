"""The browser example, run in Chromium: a camera that shows a drawn photo, and a photo file."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from devices import EXAMPLES, worst_overlap
from drawn import Quad

BROWSER = EXAMPLES / "browser"
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
PATIENCE_MS = 120_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.skipif(
        not (BROWSER / "node_modules").is_dir(), reason="run `npm install` in examples/browser"
    ),
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture(scope="module")
def site(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the example with the drawn photos' model; yield its address."""
    folder = tmp_path_factory.mktemp("site")
    for path in BROWSER.iterdir():
        if path.name != "model":
            (folder / path.name).symlink_to(path)
    (folder / "model").mkdir()
    (folder / "model" / "photo.onnx").symlink_to(exported / "pink.onnx")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(site: str, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Open the page in a Chromium whose camera shows the drawn photo."""
    film = tmp_path_factory.mktemp("camera") / "photo.mjpeg"
    film.write_bytes(drawn.read_bytes())
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=[*FLAGS, f"--use-file-for-fake-video-capture={film}"],
            timeout=PATIENCE_MS,
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(site)
        page.wait_for_function("document.getElementById('said').textContent === 'Ready.'")
        yield page
        assert all(url.startswith((site, "blob:", "data:")) for url in asked), asked
        browser.close()


def look(page: Page, act: Callable[[], None]) -> list[Quad]:
    """Let the page look at a picture; return the corners that it found."""
    page.evaluate("delete document.getElementById('photo').dataset.outlines")
    act()
    page.wait_for_selector("#photo[data-outlines]")
    found = json.loads(page.get_attribute("#photo", "data-outlines") or "")
    return [np.array(one["corners"]) for one in found]


def test_finds_the_slides_before_the_camera(page: Page, quads: list[Quad], tmp_path: Path) -> None:
    page.click("#start")
    page.wait_for_selector("#take", state="visible")
    found = look(page, lambda: page.click("#take"))
    size = page.evaluate("[photo.width, photo.height]")
    scaled = [quad * np.array(size) / (640, 480) for quad in quads]
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert len(found) == 2
    assert worst_overlap(found, scaled) > 0.93


def test_straightens_the_slides_of_a_photo_file(
    page: Page, drawn: Path, quads: list[Quad], tmp_path: Path
) -> None:
    # A photo on its side, as phones write them, with a mark that says so.
    lying = tmp_path / "lying.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(drawn).transpose(Image.Transpose.ROTATE_90).save(lying, exif=exif, quality=95)
    found = look(page, lambda: page.set_input_files("#file", lying))
    assert worst_overlap(found, quads) > 0.93
    sizes = page.evaluate("[...crops.children].map((one) => [one.width, one.height])")
    for (width, height), corners in zip(sizes, found, strict=True):
        top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
        assert width == pytest.approx(max(top, bottom), abs=1)
        assert height == pytest.approx(max(left, right), abs=1)
    # Crops show tissue, which is pink and violet all over, and hardly any of the table.
    green_excess = page.evaluate(
        """[...crops.children].map((one) => {
            const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
            let table = 0;
            for (let i = 0; i < data.length; i += 4)
                table += 2 * data[i + 1] >= data[i] + data[i + 2];
            return (4 * table) / data.length;
        })"""
    )
    assert max(green_excess) < 0.05
