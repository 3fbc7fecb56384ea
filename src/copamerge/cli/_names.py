"""Names as they are shown: short enough for a table, and harmless to a terminal."""

from copamerge.core.labels import short_names as short_names


def plain(text: str) -> str:
    """Text from a stranger's file without what could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
