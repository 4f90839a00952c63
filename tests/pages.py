"""What every page of a report has to be."""

import re
from html.parser import HTMLParser


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
    """One document whose elements close in order, that loads nothing and runs nothing."""
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert page.startswith("<!doctype html>")
    assert not re.search(
        r"https?:|<script|<link|@import|url\(| on\w+=|src=|\bnan\b|\binf\b|undefined", page, re.IGNORECASE
    )
