"""Where benchmarks put their tables: docs/benchmarks.md, between two marks."""

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def put(name: str, table: str) -> None:
    """Replace what stands between `<!-- NAME: start -->` and `<!-- NAME: end -->`."""
    start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(start)
    after = rest.partition(end)[2]
    PAGE.write_text(f"{before}{start}\n{table}\n{end}{after}", encoding="utf-8")
