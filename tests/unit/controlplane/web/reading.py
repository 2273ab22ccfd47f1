"""What a person reads on a page, without its markup."""

import html
import re


def words(page: str) -> str:
    """Return the text of a page's main part, with one space between words."""
    main = re.search(r"<main>(.*)</main>", page, re.DOTALL)
    text = re.sub(r"</?time[^>]*>", "", main[1] if main else page)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def sections(page: str) -> dict[str, bool]:
    """Return the paths in the navigation, and of each whether it is marked as the one that is open."""
    links = re.findall(r'<a href="([^"]+)" data-key="\w" ?(aria-current="page")?', page)
    return {path: bool(mark) for path, mark in links}
