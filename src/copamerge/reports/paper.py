"""The paper's numbers, as printed in arXiv:2502.17159v1, to stand beside ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SOURCE = "Zeng et al., arXiv:2502.17159v1"

CAVEAT = (
    "The paper's numbers are of LLaVA-1.5-7B on twelve public datasets; ours are of a small LLaVA "
    "on tasks made by code. The mini suite tests the method and the code path: neither its points "
    "nor its ranking say whether the paper's ranking is right."
)

TASKS = (
    "science",
    "classes",
    "vqa",
    "grounding",
    "ocr",
    "photo_caption",
    "scene_caption",
    "icons",
    "knowledge",
    "shifted_classes",
    "screens",
    "tables",
)
"""The mini suite's tasks that mirror the columns of the paper's Table 2, in its order."""


@dataclass(frozen=True)
class PaperRow:
    """One row of a table: points by task where printed, and the means as printed."""

    title: str
    """As the paper has it."""
    seen: float | None
    unseen: float | None = None
    tasks: tuple[float, ...] = ()

    def printed(self, number: float | None) -> str | None:
        """With the decimals of the table: two, or one where only the means are printed."""
        return None if number is None else f"{number:.{2 if self.tasks else 1}f}"

    def points(self, task: str) -> float | None:
        """None where the paper has no number for the task of ours that mirrors it."""
        at = TASKS.index(task) if task in TASKS else len(self.tasks)
        return self.tasks[at] if at < len(self.tasks) else None


def _row(title: str, text: str) -> PaperRow:
    """A row of twelve points and two means, or of eight and one, as printed."""
    numbers = [float(word) for word in text.split()]
    if len(numbers) == 14:
        return PaperRow(title, numbers[8], numbers[13], (*numbers[:8], *numbers[9:13]))
    return PaperRow(title, numbers[8], None, tuple(numbers[:8]))


TABLE_2: Mapping[str, PaperRow] = MappingProxyType(
    {
        "zero-shot": _row(
            "Zero-Shot",
            "61.73 40.87 62.88 36.10 41.16 41.03 49.07 14.09 43.37 51.62 28.27 5.98 15.01 25.22",
        ),
        "individual": _row("Individual", "83.74 96.02 67.58 43.40 65.50 64.80 57.29 75.54 69.23"),
        "mtl": _row(
            "Traditional MTL",
            "76.90 74.08 67.05 35.98 65.37 66.67 56.09 66.87 63.62 76.33 41.39 8.34 18.20 36.06",
        ),
        "task_arithmetic": _row(
            "Task Arithmetic",
            "71.94 57.49 67.06 38.90 62.87 44.80 49.20 39.21 53.93 74.78 37.37 7.52 13.57 33.31",
        ),
        "dare": _row(
            "DARE",
            "71.59 57.25 66.26 39.38 62.56 44.93 49.13 39.59 53.84 73.75 37.67 7.56 13.62 33.15",
        ),
        "ties": _row(
            "Ties-merging",
            "71.49 55.88 66.73 39.67 65.12 44.35 47.06 34.46 53.09 73.43 38.44 7.47 13.23 33.14",
        ),
        "pcb": _row(
            "PCB-merging",
            "71.10 57.82 67.59 38.22 64.35 44.58 48.90 37.01 53.70 74.57 36.28 7.84 15.44 33.53",
        ),
        "copa": _row(
            "CoPA-Merging",
            "73.43 65.54 67.20 44.80 62.97 46.61 52.80 45.90 57.33 79.30 45.79 9.23 17.62 37.99",
        ),
    }
)
"""Table 2, by kind of model or by merge method."""

TABLE_6: Mapping[str, PaperRow] = MappingProxyType(
    {
        "sum": _row("neither", "71.94 57.49 67.06 38.90 62.87 44.80 49.20 39.21 53.93"),
        "prune-s": _row("Prune&Scale", "73.03 64.18 67.50 43.12 58.19 46.36 52.24 44.54 56.14"),
        "copa": _row("Prune&Scale, Norm", "73.43 65.54 67.20 44.80 62.97 46.61 52.80 45.90 57.33"),
    }
)
"""Table 6, by what is switched on. Its first row is Table 2's Task Arithmetic."""

TABLE_7: Mapping[str, PaperRow] = MappingProxyType(
    {
        "none": PaperRow("Baseline (w/o adaptation)", 54.1, 32.5),
        "A": PaperRow("Ours (individual, A)", 54.5, 32.1),
        "B": PaperRow("Ours (individual, B)", 55.4, 34.1),
        "AB": PaperRow("Ours (individual, A+B)", 51.7, 35.0),
        "inter": PaperRow("Ours (inter-parameter)", 57.3, 38.0),
    }
)
"""Table 7, by copa's option `coefficients`."""

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "figure2a": "The paper: almost no decrease with the larger half only (section 3.2).",
        "figure2b": "The paper: smaller singular values get larger multiples (section 3.2).",
        "figure2c": "The paper: full fine-tuning deltas are small and concentrated, A and B spread "
        "wider; B looks Gaussian, A uniform (section 3.2).",
        "figure4": "The paper: with more tasks seen points drop slightly, unseen ones rise, then "
        "fall a little; copa is above the others throughout (section 4.3).",
        "figure5": "The paper: more rank helps; copa leads by 3.4 at rank 16, 3.3 at 128 "
        "(section 4.5).",
        "figure6a": "The paper: points rise with the pruning rate, then fall sharply "
        "(section 4.5).",
        "figure6b": "The paper: magnitude is 2.3 above random and 4.0 above aggregated sign "
        "(section 4.6).",
        "figure6c": "The paper: copa 57.3 against 53.9, 'with significantly smaller variance "
        "(1.2%)'; normalising adds 1.2 points and takes 0.2 off the standard deviation "
        "(section 4.6).",
    }
)
"""What the text says of figures whose points are not printed."""
