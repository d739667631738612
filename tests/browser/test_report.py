"""`report.html` in a real browser: on a phone, in the dark, and with names that mean harm."""

from __future__ import annotations

import pytest

from engines.evaluation import report
from tests.browser.chromium import tab
from tests.report_subject import HOSTILE, annotated

pytestmark = [pytest.mark.needs("chromium", "onnxruntime", "cv2"), pytest.mark.timeout(240)]

OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
LAST_SHOWN = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FAINT = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const part = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll("body *:not(svg):not(svg *)")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${e.className || e.tagName} ${contrast.toFixed(2)}`);
  }
  return faint;
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(path, *annotated())
    return path


@pytest.fixture
def browser(tmp_path):
    with tab(tmp_path / "profile") as opened:
        yield opened


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_never_scrolls_sideways(browser, page, width):
    browser.open(page, width=width)
    browser.value(OPEN_ALL)

    assert browser.value(LAST_SHOWN) == 0


def test_it_asks_for_nothing_and_complains_of_nothing(browser, page):
    browser.open(page, width=1280)

    assert [url for url in browser.requested if not url.startswith("data:")] == [page.as_uri()]
    assert browser.trouble == []


def test_names_that_mean_harm_are_shown_and_not_run(browser, page):
    browser.open(page, width=1280)
    browser.value(OPEN_ALL)

    shown = browser.value("document.body.innerText")
    assert HOSTILE in " ".join(shown.split())
    assert browser.value("document.scripts.length") == 0
    assert browser.value("document.querySelectorAll('[onload], [onerror]').length") == 0
    assert browser.trouble == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_word_stands_out_from_what_is_behind_it(browser, page, dark):
    browser.open(page, width=1280, dark=dark)
    browser.value(OPEN_ALL)

    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (background != "rgb(255, 255, 255)") == dark
    assert browser.value(FAINT) == []


def test_its_style_and_pictures_pass_its_own_policy(browser, page):
    browser.open(page, width=1280)

    assert browser.value("getComputedStyle(document.querySelector('.card')).borderRadius") == "8px"
    assert browser.value("[...document.images].filter(i => !i.naturalWidth).length") == 0
    assert browser.value("document.images.length") > 0
