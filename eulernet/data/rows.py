"""Where the rows of delimited text begin and end: a scanner beside polars' parser, so that rows are counted twice.

A quote opens a cell at the start of a line or behind a separator, and closes it before a separator or a line end.
Within the cell a quote is written twice or, where the format has an escape character as Spark's has, behind that. Any
other quote is a character like others, except one that opens a cell and that none closes: such a row has no end.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

LINE_END = b"\n"


@dataclass(frozen=True)
class Quoting:
    """How cells are separated and quoted: one character each, or None."""

    separator: str
    quote: str | None
    escape: str | None = None

    @cached_property
    def cell(self) -> re.Pattern[bytes]:
        """A quoted cell."""
        start, quote, escape = (re.escape((mark or "").encode()) for mark in (self.separator, self.quote, self.escape))
        within = b"(?:%s.|%s%s)" % (escape, quote, quote) if escape else quote + quote
        other = b"[^%s%s]*" % (quote, escape)
        return re.compile(
            b"%s(?<![^%s\n]%s)%s(?:%s%s)*%s(?=[%s\r\n]|\\Z)"  # the quote first: it is searched for fast
            % (quote, start, quote, other, within, other, quote, start),
            re.DOTALL,
        )

    @cached_property
    def unclosed(self) -> re.Pattern[bytes]:
        """A quote at the start of a cell, in text without its quoted cells."""
        start, quote = (re.escape((mark or "").encode()) for mark in (self.separator, self.quote))
        return re.compile(b"(?<![^%s\n])%s" % (start, quote))

    @cached_property
    def escaped(self) -> re.Pattern[bytes]:
        escape, quote = (re.escape((mark or "").encode()) for mark in (self.escape, self.quote))
        return re.compile(b"%s([%s%s])" % (escape, escape, quote))

    def quotes(self, text: bytes, start: int, stop: int) -> int:
        """How many quotes open or close a cell, or are half of a pair: an even number in whole rows."""
        if not self.quote:
            return 0
        count, quote = text.count(self.quote.encode(), start, stop), self.quote.encode()
        if self.escape:
            count -= sum(mark == quote for mark in self.escaped.findall(text, start, stop))
        return count

    def bare(self, text: bytes) -> bytes:
        """``text`` without its quoted cells: what is left of separators and line ends delimits cells and rows."""
        return self.cell.sub(b"", text) if self.quote and self.quote.encode() in text else text

    def count(self, text: bytes) -> tuple[int, int] | None:
        """How many rows and separators there are, blank lines included; None if a quote opens a cell for good."""
        bare = self.bare(text)
        if self.quote and self.quote.encode() in bare and self.unclosed.search(bare):
            return None
        rows = bare.count(LINE_END) + (text != b"" and not text.endswith(LINE_END))
        return rows, bare.count(self.separator.encode())

    def rows(self, text: bytes, *, blank: bool) -> list[tuple[int, int]]:
        """Where each row begins and ends in ``text``, with blank lines or without."""
        if self.quote and self.quote.encode() in text:
            ends = [m.end() for m in re.finditer(self.cell.pattern + b"|\n", text, re.DOTALL) if m[0] == LINE_END]
        else:
            ends = [m.end() for m in re.finditer(b"\n", text)]
        if not text.endswith(LINE_END):
            ends.append(len(text))
        rows = zip([0, *ends], ends, strict=False)
        return [(start, end) for start, end in rows if blank or text[start:end].strip(b"\r\n")]

    def unescape(self, text: bytes) -> bytes:
        """The same rows with quotes in cells written twice."""
        if not (self.escape and self.quote and self.escape.encode() in text):
            return text
        quote, escaped = self.quote.encode(), self.escaped
        plain = {quote: quote + quote, self.escape.encode(): self.escape.encode()}
        return self.cell.sub(lambda cell: escaped.sub(lambda mark: plain[mark[1]], cell[0]), text)


@lru_cache
def quoting(separator: str, quote: str | None, escape: str | None = None) -> Quoting:
    return Quoting(separator, quote, escape)
