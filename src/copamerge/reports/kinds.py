"""What a folder is that a report is asked for, and who makes its page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from copamerge.errors import CopamergeError
from copamerge.reports.analysis import analysis_made
from copamerge.reports.contents import Progress, page_of
from copamerge.reports.merge_page import merges_made
from copamerge.reports.place import Made, check_report_place, is_page, put_report
from copamerge.reports.run import open_runs
from copamerge.reports.write import made_of


@dataclass(frozen=True)
class Asked:
    """How a report is wanted."""

    out: Path
    figures: bool = True
    """Whether to draw figures, where a kind has some to draw."""
    progress: Progress = lambda done, total: None

    @property
    def alone(self) -> bool:
        """Whether the page has no files beside it."""
        return is_page(self.out)


@dataclass(frozen=True)
class Kind:
    """One kind of folder that reports are on."""

    name: str
    mark: str
    """The file that every such folder has, and no other."""
    writer: str
    """The command that writes it."""
    make: Callable[[Sequence[Path], Asked], Made]
    draws: bool = False
    """Whether its figures are drawn by the report, for which matplotlib is needed."""


def _runs_made(paths: Sequence[Path], asked: Asked) -> Made:
    runs = open_runs(paths)
    page = page_of(runs, asked.out, figures=asked.figures, progress=asked.progress)
    return made_of(page, alone=asked.alone)


def _merges_made(paths: Sequence[Path], asked: Asked) -> Made:
    return merges_made(paths, asked.out, alone=asked.alone)


def _analysis_made(paths: Sequence[Path], asked: Asked) -> Made:
    return analysis_made(paths, figures=asked.figures, alone=asked.alone)


# A run's folder has merges inside, so it is looked for first.
KINDS: tuple[Kind, ...] = (
    Kind("run", "run.json", "copamerge bench", _runs_made, draws=True),
    Kind("merge", "merge.json", "copamerge merge", _merges_made),
    Kind("analysis", "analysis.json", "copamerge analyze", _analysis_made, draws=True),
)


def kind_of(path: Path) -> Kind:
    """Which kind of folder it is.

    Raises:
        CopamergeError: it is none of them, or not there.
    """
    writers = _or([f"`{kind.writer}`" for kind in KINDS])
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise CopamergeError(f"{path}: {what}; give a folder that {writers} wrote (-o)")
    for kind in KINDS:
        if (path / kind.mark).is_file():
            return kind
    marks = _or([kind.mark for kind in KINDS])
    inside = sorted({each.parent.name for kind in KINDS for each in path.glob(f"*/{kind.mark}")})
    hint = f"its folders {', '.join(inside[:4])} are: give those" if inside else ""
    raise CopamergeError(
        f"{path}: nothing to report on (no {marks} in it); "
        f"{hint or f'give a folder that {writers} wrote (-o)'}"
    )


def kind_of_all(paths: Sequence[Path]) -> Kind:
    """The one kind of all these folders.

    Raises:
        CopamergeError: what is wrong with each of them, all at once; or they are of several kinds.
    """
    found: dict[str, list[Path]] = {}
    kinds: dict[str, Kind] = {}
    problems, seen = [], set[Path]()
    for path in paths:
        if path.resolve() in seen:
            problems.append(f"{path}: given twice")
            continue
        seen.add(path.resolve())
        try:
            kind = kind_of(path)
        except CopamergeError as error:
            problems += error.problems
            continue
        kinds[kind.name] = kind
        found.setdefault(kind.name, []).append(path)
    if problems:
        raise CopamergeError(problems)
    if not found:
        raise CopamergeError("nothing to report on: give at least one folder")
    if len(found) > 1:
        said = "; ".join(
            f"{', '.join(map(str, those))} {'was' if len(those) == 1 else 'were'} written by "
            f"`{kinds[name].writer}`"
            for name, those in found.items()
        )
        raise CopamergeError(f"a report is on one kind of folder: {said}; make a report of each")
    return kinds[next(iter(found))]


def report_on(paths: Sequence[Path], asked: Asked, *, overwrite: bool = False) -> Path:
    """Write the report on these folders, all of one kind, and return its page.

    Raises:
        OutputError: the place is taken, or cannot be written.
        CopamergeError: what is wrong with the folders; matplotlib is missing.
    """
    check_report_place(asked.out, overwrite=overwrite)
    made = kind_of_all(paths).make(paths, asked)
    return put_report(asked.out, made, overwrite=overwrite)


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
