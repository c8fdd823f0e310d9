"""Links to the pages around one (RFC 8288)."""

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode


def page_links(url: str, asked: Iterable[tuple[str, str]], cursors: Mapping[str, str | None]) -> list[str]:
    """Values of the Link header: for each relation the same URL with another cursor.

    url: of the request, without its query. asked: names and values of the query. cursors: by relation; "" is the first
    page, None is no page.
    """
    others = [pair for pair in asked if pair[0] != "cursor"]
    links = []
    for relation, cursor in cursors.items():
        if cursor is not None:
            query = urlencode([*others, ("cursor", cursor)] if cursor else others)
            links.append(f'<{url}{"?" if query else ""}{query}>; rel="{relation}"')
    return links
