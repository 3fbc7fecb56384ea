"""The paper's numbers, as printed in arXiv:2502.17159v1, to stand beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

SOURCE = "Zeng et al., arXiv:2502.17159v1"

CAVEAT = (
    "The paper's numbers are of LLaVA-1.5-7B on twelve public datasets; ours are of a small LLaVA "
    "on tasks made by code. The mini suite tests the method and the code path: neither its points "
    "nor its ranking say whether the paper's ranking is right."
)

CAVEATS: Mapping[str, str] = MappingProxyType(
    {
        "mini": CAVEAT,
        "mm-mergebench": (
            "The datasets are the paper's where the files are the released ones. What may differ: "
            "the base, if it is not LLaVA-1.5-7B, and that transformers runs it and not the "
            "original code; the adapters, if they are not the authors'; the frame of the boxes and "
            "how many decimals they have, which the paper does not say; captions, which are the "
            "paper's mean of seven only where Java is there for METEOR; a few answers where "
            "pictures are asked in batches. `official` repeats the released scoring."
        ),
        "mm-general": (
            "The benchmarks are the paper's. What may differ: the base, if it is not LLaVA-1.5-7B, "
            "and that transformers runs it and not the original code; the adapters, if they are "
            "not the authors'; a few answers where pictures are asked in batches."
        ),
        "clip8": (
            "The datasets are the paper's by name. What may differ: the base, if it is not the "
            "table's; the sentences about a class and the splits, which the paper does not give "
            "(EuroSAT and SUN397 have several in use); the adapters, if they are not the authors'."
        ),
    }
)
"""By suite: how far the paper's numbers and ours may be compared."""


@dataclass(frozen=True)
class PaperRow:
    """One row of a table: points by task where printed, and the means as printed."""

    title: str
    """As the paper has it."""
    seen: float | None
    """The mean over seen tasks; for vision tasks over all."""
    unseen: float | None = None
    tasks: tuple[float, ...] = ()
    """In the order of the table's columns."""
    decimals: int = 2

    def printed(self, number: float | None) -> str | None:
        """With the decimals of the table."""
        return None if number is None else f"{number:.{self.decimals}f}"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, its columns under the names of a suite's tasks."""

    label: str
    rows: Mapping[str, PaperRow]
    """By kind of model, merge method, or what the table is about."""
    seen: tuple[str, ...] = ()
    """Our tasks that mirror the columns, in the paper's order."""
    unseen: tuple[str, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    """Task -> what has to be known of its column."""
    notes: tuple[str, ...] = ()

    def points(self, row: PaperRow, task: str) -> float | None:
        """None where the paper has no number for the task."""
        tasks = (*self.seen, *self.unseen)
        at = tasks.index(task) if task in tasks else len(row.tasks)
        return row.tasks[at] if at < len(row.tasks) else None

    def normalised(self, row: PaperRow, tasks: Sequence[str]) -> float | None:
        """The mean over tasks of the row's points in percent of the individual models'.

        None unless both are printed for each task.
        """
        own = self.rows.get("individual")
        if own is None or not tasks:
            return None
        shares = []
        for task in tasks:
            ours, best = self.points(row, task), self.points(own, task)
            if ours is None or not best:
                return None
            shares.append(100 * ours / best)
        return sum(shares) / len(shares)

    @property
    def unlike_means(self) -> tuple[tuple[PaperRow, float, float], ...]:
        """Rows with a printed mean that is not their printed numbers' to the last decimal: row,
        printed mean, and the mean of the numbers."""
        found = []
        for row in self.rows.values():
            n = len(self.seen)
            for printed, numbers in ((row.seen, row.tasks[:n]), (row.unseen, row.tasks[n:])):
                if printed is None or not numbers:
                    continue
                mean = sum(numbers) / len(numbers)
                if abs(mean - printed) > 0.5 * 10.0**-row.decimals + 1e-9:
                    found.append((row, printed, mean))
        return tuple(found)


def _row(title: str, text: str) -> PaperRow:
    """A row of twelve points and two means, or of eight and one, as printed."""
    words = text.split()
    numbers = [float(word) for word in words]
    decimals = len(words[0].partition(".")[2])
    if len(numbers) == 14:
        tasks = (*numbers[:8], *numbers[9:13])
        return PaperRow(title, numbers[8], numbers[13], tasks, decimals)
    if len(numbers) == 9:
        return PaperRow(title, numbers[8], None, tuple(numbers[:8]), decimals)
    return PaperRow(title, None, None, tuple(numbers), decimals)


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

TABLE_3: Mapping[str, PaperRow] = MappingProxyType(
    {
        "zero-shot": _row("Zero-Shot", "86.4 1476.9 66.1"),
        "mtl": _row("Traditional MTL", "86.9 1433.5 62.9"),
        "task_arithmetic": _row("Task Arithmetic", "87.0 1465.2 67.3"),
        "dare": _row("DARE", "86.4 1475.7 67.4"),
        "ties": _row("Ties-merging", "86.7 1489.4 66.6"),
        "pcb": _row("PCB-merging", "86.6 1490.7 66.3"),
        "copa": _row("CoPA-Merging", "87.2 1494.9 68.1"),
    }
)
"""Table 3: POPE, MME, MMBench. It has no individual models."""

TABLE_4: Mapping[str, PaperRow] = MappingProxyType(
    {
        "zero-shot": _row("Zero-Shot", "59.7 60.7 62.3 32.6 48.5 43.8 45.5 31.4 48.0"),
        "individual": _row("Individual", "74.3 88.7 65.2 92.9 99.3 58.4 99.1 96.4 84.2"),
        "task_arithmetic": _row("Task Arithmetic", "60.3 62.8 63.2 37.6 52.3 44.0 50.9 37.6 51.1"),
        "dare": _row("DARE", "60.4 62.8 63.1 37.5 52.4 44.0 50.3 37.7 51.0"),
        "ties": _row("Ties-merging", "60.7 61.3 62.4 33.9 56.4 43.1 51.1 42.9 51.5"),
        "copa": _row("CoPA-Merging", "61.4 63.3 65.0 43.1 65.0 44.7 52.2 52.4 55.9"),
    }
)
"""Table 4 in the order of its columns; what they are called in print is in `PRINTED_8`."""

TABLE_5: Mapping[str, PaperRow] = MappingProxyType(
    {
        "zero-shot": _row("Zero-Shot", "77.7 71.0 66.8 50.5 76.3 55.3 59.9 58.4 64.4"),
        "individual": _row("Individual", "99.7 95.8 80.0 97.2 99.4 70.3 98.6 97.9 92.4"),
        "task_arithmetic": _row("Task Arithmetic", "78.6 73.5 68.5 53.6 79.7 55.8 65.7 60.9 67.0"),
        "dare": _row("DARE", "79.5 75.0 68.8 56.5 81.4 56.6 65.8 62.8 68.3"),
        "ties": _row("Ties-merging", "79.4 76.0 69.5 59.4 83.4 55.7 64.0 64.4 68.9"),
        "copa": _row("CoPA-Merging", "79.7 78.4 70.6 62.4 82.8 58.2 64.7 70.3 70.9"),
    }
)
"""Table 5, as Table 4."""

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
        "none": PaperRow("Baseline (w/o adaptation)", 54.1, 32.5, decimals=1),
        "A": PaperRow("Ours (individual, A)", 54.5, 32.1, decimals=1),
        "B": PaperRow("Ours (individual, B)", 55.4, 34.1, decimals=1),
        "AB": PaperRow("Ours (individual, A+B)", 51.7, 35.0, decimals=1),
        "inter": PaperRow("Ours (inter-parameter)", 57.3, 38.0, decimals=1),
    }
)
"""Table 7, by copa's option `coefficients`."""

PRINTED_8 = ("cars", "dtd", "eurosat", "gtsrb", "mnist", "resisc45", "sun397", "svhn")
"""Tasks of `clip8` in the order in which tables 4 and 5 name their columns."""
SWAPPED: Mapping[str, str] = MappingProxyType(
    {"dtd": "resisc45", "resisc45": "dtd", "eurosat": "sun397", "sun397": "eurosat"}
)
"""A column as tables 4 and 5 print it -> the task whose numbers it holds."""
RELABELLED = (
    "The paper prints DTD's numbers under RESISC45, EuroSAT's under SUN397, and the other way "
    "round; here they stand under their own names. Evidence: for zero-shot CLIP ViT-B/32 "
    "FusionBench has RESISC45 60.7, DTD 43.9, SUN397 63.2, EuroSAT 46.0, the paper 43.8, 60.7, "
    "45.5, 62.3; and {individual}. Means are not affected."
)

MINI = (
    ("science", "classes", "vqa", "grounding", "ocr", "photo_caption", "scene_caption", "icons"),
    ("knowledge", "shifted_classes", "screens", "tables"),
)
"""The mini suite's tasks that mirror the columns of the paper's Table 2, seen and unseen."""
MERGEBENCH = (
    ("scienceqa", "imagenet", "vqav2", "grounding", "ocrvqa", "vizwiz", "flickr30k", "iconqa"),
    ("aokvqa", "imagenet_r", "screen2words", "tabmwp"),
)
TASKS = (*MINI[0], *MINI[1])


def _generative(seen: tuple[str, ...], unseen: tuple[str, ...]) -> dict[str, PaperTable]:
    return {
        "table2": PaperTable("Table 2", TABLE_2, seen, unseen),
        "table6": PaperTable("Table 6", TABLE_6, seen),
        "table7": PaperTable("Table 7", TABLE_7),
    }


_GENERAL = PaperTable(
    "Table 3",
    TABLE_3,
    unseen=("pope", "mme", "mmbench"),
    marks=MappingProxyType(
        {
            "pope": "The paper does not say which of POPE's numbers it gives, nor of which split; "
            "ours are all in the report.",
            "mme": "The paper does not say what it sums; numbers of this size can only be MME's "
            "perception tasks, which go up to 2000.",
            "mmbench": "The paper's numbers are of the benchmark's scoring server; ours are scored "
            "here, by exact match of the option's letter in every order of the options.",
        }
    ),
    notes=("Ties-merging's 86.7 on POPE is printed as 86,7.",),
)


def _vision(
    label: str, rows: Mapping[str, PaperRow], individual: str, cars: str | None = None
) -> PaperTable:
    relabelled = RELABELLED.format(individual=individual)
    return PaperTable(
        label,
        rows,
        seen=tuple(SWAPPED.get(task, task) for task in PRINTED_8),
        marks=MappingProxyType(
            dict.fromkeys(SWAPPED, relabelled) | ({"cars": cars} if cars else {})
        ),
    )


TABLES: Mapping[str, Mapping[str, PaperTable]] = MappingProxyType(
    {
        "mini": _generative(*MINI),
        "mm-mergebench": _generative(*MERGEBENCH),
        "mm-general": {"table3": _GENERAL, "table2": _GENERAL},
        "clip8": {
            "table4": _vision(
                "Table 4",
                TABLE_4,
                "an individual model with 99.1 under SUN397 can only be EuroSAT's",
            ),
            "table5": _vision(
                "Table 5",
                TABLE_5,
                "an individual model with 98.6 under SUN397 can only be EuroSAT's",
                "The paper's individual model has 99.7 on Cars, above the 92.9 of full "
                "fine-tuning: doubtful, and so are what is normalised by it and its mean.",
            ),
        },
    }
)
"""Suite -> experiment -> the table it repeats."""


def paper_table(suite: str, experiment: str) -> PaperTable | None:
    """The table of the paper that runs of an experiment on a suite repeat."""
    return TABLES.get(suite, {}).get(experiment)


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
