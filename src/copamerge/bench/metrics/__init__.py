"""Metrics by name: how answers become points.

| name | tasks of the paper |
|---|---|
| `exact_upper` | VQAv2, IconQA, A-OKVQA, TabMWP |
| `exact_lower_unanswerable` | OCR-VQA |
| `two_way_substring` | ImageNet, ImageNet-R |
| `science` | ScienceQA |
| `grounding` | Grounding |
| `caption7` | VizWiz, Flickr30k, Screen2Words; needs Java |
| `caption6` | the same where there is no Java: without METEOR, hence not the paper's number |
| `pope` | POPE; needs places |
| `mme` | MME: up to 2000 points; needs places |
| `mmbench_circular` | MMBench, by a local match instead of its server; needs places |
| `top1` | the eight vision tasks: labels, best first |
| `exact` | none: for tasks of one's own |
| `contains` | none: for tasks of one's own |
| `number` | none: for tasks of one's own |
| `f1` | none: for tasks of one's own |
"""

from collections.abc import Mapping
from types import MappingProxyType

from copamerge.bench.metrics._base import MODES, Accuracy, BadReferenceError, Metric, Mode
from copamerge.bench.metrics.caption7 import CAPTION7, Caption7
from copamerge.bench.metrics.captions import CAPTION6, Caption6
from copamerge.bench.metrics.exact import EXACT_LOWER_UNANSWERABLE, EXACT_UPPER
from copamerge.bench.metrics.grounding import GROUNDING
from copamerge.bench.metrics.mmbench import MMBENCH_CIRCULAR, MmbenchCircular
from copamerge.bench.metrics.mme import MME, Mme
from copamerge.bench.metrics.overlap import F1
from copamerge.bench.metrics.plain import CONTAINS, EXACT, NUMBER
from copamerge.bench.metrics.pope import POPE, Pope
from copamerge.bench.metrics.science import SCIENCE
from copamerge.bench.metrics.substring import TWO_WAY_SUBSTRING
from copamerge.bench.metrics.top1 import TOP1, Top1

__all__ = [
    "METRICS",
    "MODES",
    "Accuracy",
    "BadReferenceError",
    "Caption6",
    "Caption7",
    "Metric",
    "MmbenchCircular",
    "Mme",
    "Mode",
    "Pope",
    "Top1",
]

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            EXACT_UPPER,
            EXACT_LOWER_UNANSWERABLE,
            TWO_WAY_SUBSTRING,
            SCIENCE,
            GROUNDING,
            CAPTION7,
            CAPTION6,
            POPE,
            MME,
            MMBENCH_CIRCULAR,
            TOP1,
            EXACT,
            CONTAINS,
            NUMBER,
            F1,
        )
    }
)
