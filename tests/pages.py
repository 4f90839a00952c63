"""What every page of a report has to be."""

import re
from html.parser import HTMLParser

from eulernet.reporting.page import SCRIPT


class Balanced(HTMLParser):
    """Fails where an element is closed that is not the one open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, name, attributes):
        if name not in ("meta", "wbr"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def assert_whole(page):
    """One document whose elements close in order, that loads nothing and runs nothing but its one known script.

    No anchor is there twice, and each link within the page leads somewhere.
    """
    page = page.replace(f"<script>{SCRIPT.read_text()}</script>", "")
    anchors = re.findall(r' id="([^"]*)"', page)
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(anchors)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(
        r"https?:|<script|<link|@import|url\(| on\w+=|src=|\bnan\b|\binf\b|undefined", page, re.IGNORECASE
    )
