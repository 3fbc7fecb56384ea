import re

from copamerge.bench.metrics import METRICS
from copamerge.bench.metrics import __doc__ as table


def test_every_metric_is_on_the_page_and_in_the_table_of_the_package(pytestconfig):
    page = (pytestconfig.rootpath / "docs/metrics.md").read_text(encoding="utf-8")

    for text in (page, table):
        assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(METRICS)


def test_the_page_has_the_highest_points(pytestconfig):
    page = (pytestconfig.rootpath / "docs/metrics.md").read_text(encoding="utf-8")

    for name, metric in METRICS.items():
        (line,) = (x for x in page.splitlines() if x.startswith(f"| `{name}` |"))

        assert f"| 0 to {round(metric.highest, 1):g} |" in line
