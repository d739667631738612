"""The page a person reads before shipping: complete, in one file, and nobody's HTML but ours."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from edge.detector import bundle
from engines.evaluation import report
from tests.report_subject import HOSTILE, annotated, missed, subject


@pytest.fixture(scope="module")
def held():
    return subject()


@pytest.fixture(scope="module")
def page(held):
    return report.render(*held)


class Page(HTMLParser):
    """Collects what a test asks of the page: elements, their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.text = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def test_the_verdict_comes_first_and_says_on_how_many_images(page):
    words = Page(page).words

    assert words.index("INT8 holds its accuracy budget") < words.index("Detections: float")
    assert "on 8 held-out images" in words


def test_a_missed_budget_is_said_in_the_verdict():
    words = Page(report.render(*missed())).words

    assert "INT8 does NOT hold its accuracy budget" in words
    assert "1 of 2 checks are missed" in words
    assert "as --allow-drop asked for" in words


def test_every_part_of_the_report_is_there(page):
    words = Page(page).words

    for section in (
        "Kept", "Not made up", "How far scores moved", "Label by label", "Wherever it stands",
        "Images where INT8 differs most", "Noise, layer by layer", "Ranges, CPU", "Feature maps",
        "Time", "Passport",
    ):  # fmt: skip
        assert section in words, section


def test_annotations_add_precision_recall_places_and_shelf_levels():
    words = Page(report.render(*annotated())).words

    assert "Precision and recall" in words
    assert "mAP50-95" in words
    assert "Annotated objects, CPU" in words
    assert "level 2" in words


def test_a_change_that_int8_certainly_stands_worse_is_marked(page):
    assert '<td>100%</td><td class="missed">25%</td>' in page
    assert '<td>98%</td><td class="">96%</td>' in page


def test_names_of_others_are_text_and_never_markup(page):
    parsed = Page(page)

    assert HOSTILE in parsed.words
    tags = [tag for tag, _ in parsed.elements]
    assert "script" not in tags
    assert not [a for _, a in parsed.elements for name in a if name.startswith("on")]


def test_nothing_is_fetched_from_anywhere(page):
    links = [
        value
        for _, attributes in Page(page).elements
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data"}
    ]

    assert links
    assert all(link.startswith("data:") for link in links)
    assert "url(" not in page
    assert "@import" not in page


def test_the_pages_own_policy_allows_its_one_style_and_no_other(page):
    import base64
    import hashlib

    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    assert " style=" not in page


def test_the_same_build_gives_the_same_bytes(held, page):
    assert report.render(*held) == page


def test_it_stays_small(page):
    assert len(page.encode()) < 3_000_000


def test_it_is_written_as_utf8(tmp_path, held):
    report.write(tmp_path / bundle.REPORT, *held)

    assert HOSTILE.split("<", maxsplit=1)[0] in (tmp_path / bundle.REPORT).read_text("utf-8")


def test_a_graph_without_convolutions_is_reported_too():
    evaluated, where, passport = subject(convolutions=False)

    assert "Noise, layer by layer" in Page(report.render(evaluated, where, passport)).words


def test_identical_graphs_have_no_worst_images():
    assert "exactly what the float model gives" in report.render(*subject(drift=0.0))


def test_the_time_is_the_one_that_was_taken(held):
    evaluated, where, passport = held
    timed = replace(evaluated, speed={**evaluated.speed, "int8_ms": 12.34})

    assert "12.3 ms" in report.render(timed, where, passport)
