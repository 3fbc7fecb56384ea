"""Metrics by name: how answers become points.

| name | tasks of the paper |
|---|---|
| `exact_upper` | VQAv2, IconQA, A-OKVQA, TabMWP |
| `exact_lower_unanswerable` | OCR-VQA |
| `two_way_substring` | ImageNet, ImageNet-R |
| `science` | ScienceQA |
| `grounding` | Grounding |
| `caption6` | VizWiz, Flickr30k, Screen2Words: without METEOR, hence not the paper's number |
| `exact`, `contains`, `number`, `f1` | none: for tasks of one's own |
"""

from collections.abc import Mapping
from types import MappingProxyType

from copamerge.bench.metrics._base import MODES, Accuracy, BadReferenceError, Metric, Mode
from copamerge.bench.metrics.captions import CAPTION6, Caption6
from copamerge.bench.metrics.exact import EXACT_LOWER_UNANSWERABLE, EXACT_UPPER
from copamerge.bench.metrics.grounding import GROUNDING
from copamerge.bench.metrics.overlap import F1
from copamerge.bench.metrics.plain import CONTAINS, EXACT, NUMBER
from copamerge.bench.metrics.science import SCIENCE
from copamerge.bench.metrics.substring import TWO_WAY_SUBSTRING

__all__ = [
    "METRICS",
    "MODES",
    "Accuracy",
    "BadReferenceError",
    "Caption6",
    "Metric",
    "Mode",
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
            CAPTION6,
            EXACT,
            CONTAINS,
            NUMBER,
            F1,
        )
    }
)
