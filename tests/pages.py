"""A report as a reader of its HTML sees it."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags nest, and gathers text, links and pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        assert self.open == []

    @property
    def text(self) -> str:
        """All words, with one plain space wherever there is some."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        named = dict(attrs)
        if tag == "a":
            self.links.append(named["href"] or "")
        if tag == "img":
            self.pictures.append(named["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def needs_nothing(path: Path) -> None:
    """Make sure that a report has all it shows in itself, and no scripts."""
    assert not {"script", "link", "iframe", "object"} & set(Page(path).tags)
    text = path.read_bytes()
    assert b"http" not in text
    assert b"url(" not in text
