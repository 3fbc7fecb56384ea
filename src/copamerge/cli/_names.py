"""Text as it is printed: harmless to a terminal."""


def plain(text: str) -> str:
    """Text from a stranger's file without what could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
