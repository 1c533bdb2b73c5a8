"""The files of the page."""

from __future__ import annotations

import hashlib
import re

from gdispy.web import assets
from gdispy.web.request import HEADERS


def test_vendored_files_are_those_of_the_named_version() -> None:
    vendor = assets.FOLDER / "vendor"
    text = (vendor / "VERSION").read_text()
    sums = re.findall(r"^([0-9a-f]{64})  (\S+)$", text, re.MULTILINE)
    assert {name for _, name in sums} == {"uPlot.iife.min.js", "uPlot.min.css"}
    for wanted, name in sums:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == wanted
    version = re.search(r"uPlot (\d+\.\d+\.\d+)", text)
    assert version is not None and f"v{version[1]}" in (vendor / "uPlot.iife.min.js").read_text()[:300]
    assert "MIT" in (vendor / "LICENSE").read_text()


def test_only_files_of_the_page_are_loaded_and_all_that_it_names_are_there() -> None:
    found = assets.load()
    assert found["/"] == found["/index.html"] and "/vendor/LICENSE" not in found
    page = found["/"].content.decode()
    for name in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert f"/{name}" in found
    for path, asset in found.items():
        if path.endswith(".js") and "vendor" not in path:
            for name in re.findall(r'from "\./([^"]+)"', asset.content.decode()):
                assert f"/{name}" in found


def test_page_works_offline_and_needs_nothing_that_its_policy_forbids() -> None:
    policy = dict(HEADERS)["Content-Security-Policy"]
    assert "unsafe" not in policy and "http" not in policy and policy.startswith("default-src 'none'")
    for path, asset in assets.load().items():
        text = asset.content.decode()
        if "vendor" in path:
            continue
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text, path
        assert not re.search(r"<[^>]+\s(on\w+|style)=", text), path
        assert "<style" not in text and not re.search(r"<script(?![^>]*\ssrc=)", text), path
