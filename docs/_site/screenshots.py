"""Makes the pictures of the report page in ``docs/images`` anew.

From the repository's root, with playwright, Pillow and Debian's chromium: ``python docs/_site/screenshots.py``. What
they show is made by hand and simulated; the page says so itself.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from pytest_gpuprof.reports.page.page import page_text  # noqa: E402  # the working tree's
from pytest_gpuprof.reports.text import write_text  # noqa: E402
from tests.reports.page.made import many  # noqa: E402

COLOURS = 96
"""Few are needed where no photograph is, and a picture stays below 300 kB."""

SHOWN = "test_embedding[bf16-256]"
"""The workload that is opened: the card was throttled, and it has energies and a sweep."""


def saved(picture: bytes, name: str) -> None:
    """Write a picture with few colours."""
    with Image.open(BytesIO(picture)) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    path = ROOT / "docs" / "images" / name
    few.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


def opened(browser: Browser, address: str, *, width: int, height: int, scale: float = 1.5, dark: bool = False) -> Page:
    """Return a page in a window of its own."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        color_scheme="dark" if dark else "light",
    )
    page.goto(address)
    page.wait_for_timeout(200)
    return page


def main() -> None:
    """Write all of them."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        write_text(page_text(many(60)), str(file))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        address = file.as_uri()
        saved(opened(browser, address, width=1280, height=860).screenshot(), "report-light.png")
        saved(opened(browser, address, width=1280, height=860, dark=True).screenshot(), "report-dark.png")
        saved(opened(browser, address, width=390, height=844, scale=2).screenshot(), "report-phone.png")
        one = opened(browser, address, width=1280, height=900)
        one.locator("#find").fill(SHOWN)
        one.locator("tbody .open").first.click()
        one.wait_for_timeout(200)
        saved(one.locator("#workloads").screenshot(), "report-workload.png")
        browser.close()


if __name__ == "__main__":
    main()
