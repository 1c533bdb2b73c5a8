"""A real browser for tests of the web page: Debian's chromium, driven by selenium."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.daemons import lacking
from tests.support.waiting import eventually

#: Nothing but the page is to be asked for, and nothing of this machine's user is to be touched.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]


class Browser:
    """One window. Elements are named by selectors of CSS."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(url)

    def texts(self, selector: str) -> list[str]:
        """The texts of all visible elements. Read at once, since the page changes meanwhile."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.innerText)"
        )
        found: list[str] = self.driver.execute_script(script, selector)
        return found

    def text(self, selector: str) -> str:
        return " ".join(self.texts(selector))

    def shows(self, selector: str, wanted: str, within: float = 20.0) -> None:
        """Wait until the text of the elements contains this."""
        eventually(lambda: wanted in self.text(selector), within, f"{wanted!r} in {selector}: {self.text(selector)!r}")

    def click(self, selector: str, containing: str = "") -> None:
        """Click the first visible element with this text, as soon as it is there."""

        def try_it() -> bool:
            from selenium.common.exceptions import WebDriverException

            for element in self.driver.find_elements("css selector", selector):
                with contextlib.suppress(WebDriverException):  # The table was changed in between.
                    if element.is_displayed() and containing in element.text:
                        element.click()
                        return True
            return False

        eventually(try_it, 20, f"{selector} with {containing!r}")

    def view(self, name: str) -> None:
        self.click("nav a", name)
        eventually(lambda: self.script("return document.querySelector('nav a[aria-current]').innerText") == name)

    def type(self, selector: str, text: str) -> None:
        element = self.driver.find_element("css selector", selector)
        element.clear()
        element.send_keys(text)

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)

    def resize(self, width: int, height: int) -> None:
        """The size of the page, also below the least size of a window."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)

    def prefer(self, scheme: str) -> None:
        """`dark` or `light`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def errors(self) -> list[str]:
        """What the console has said since the last call."""
        return [each["message"] for each in self.driver.get_log("browser")]

    def save(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))


@contextlib.contextmanager
def browser(directory: Path, *flags: str) -> Iterator[Browser]:
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        lacking("selenium is not installed")
    driver_path, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or program is None:
        lacking("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, *flags, f"--user-data-dir={directory}", "--window-size=1280,860"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
