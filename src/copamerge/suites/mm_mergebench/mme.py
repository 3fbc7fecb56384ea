"""MME: two questions about each picture, one to be answered by yes and one by no."""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from copamerge.suites._base import Place, Sample
from copamerge.suites.mm_mergebench.found import Found, Source, Tally, few
from copamerge.suites.mm_mergebench.pope import asked, read_lines

QUESTIONS = Path("MME/llava_mme.jsonl")
RELEASES = ("MME/MME_Benchmark_release_version", "MME/MME_Benchmark_release_version/MME_Benchmark")
ENDINGS = ("Answer the question using a single word or phrase.", "Please answer yes or no.")
"""LLaVA's and MME's own hint at the form of the answer: the same question has either."""


def mme(root: Path) -> Source:
    """LLaVA's questions; MME's text files, one beside each picture, say what is right."""

    def files(split: str) -> dict[str, Path]:
        return (
            {} if split != "test" else {"test": root / QUESTIONS, **_answer_files(_release(root))}
        )

    return Source(read=lambda split: _questions(root) if split == "test" else Found(), files=files)


def _release(root: Path) -> Path:
    """The folder of the subtasks: newer archives hold it one level deeper."""
    there = [root / name for name in RELEASES]
    return there[1] if there[1].is_dir() else there[0]


def _answer_files(release: Path) -> dict[str, Path]:
    """`subtask/picture` -> the text file of its questions, of either way of lying."""
    found = [*release.glob("*/*.txt"), *release.glob("*/questions_answers_YN/*.txt")]
    return {f"{path.relative_to(release).parts[0]}/{path.stem}": path for path in sorted(found)}


def _bare(text: str) -> str:
    """The question without the hints, its blanks alike."""
    for ending in ENDINGS:
        text = text.replace(ending, "")
    return " ".join(text.split())


def _questions(root: Path) -> Found:
    path, release = root / QUESTIONS, _release(root)
    records, problem = read_lines(path)
    if problem:
        return Found(stops=(problem,))
    if not release.is_dir():
        return Found(stops=(f"{release}: no such folder; put MME's pictures and answers there",))
    tally = Tally(path, len(records))
    questions = asked(records, tally, "text", "image")
    answers, stops = _answers(_answer_files(release))
    samples, times = [], Counter[str]()
    for one in questions:
        id = str(one["question_id"])
        picture = f"{PurePosixPath(id).parts[0]}/{PurePosixPath(id).stem}"
        times[picture] += 1
        right = answers.get(picture, {}).get(_bare(one["text"]))
        if picture not in answers:
            tally.add("pictures without a text file of answers", "copy MME again", id)
        elif right is None:
            tally.add("questions that the picture's text file does not have", "copy MME again", id)
        else:
            samples.append(_sample(one, release, picture, times[picture], right))
    for picture, count in times.items():
        if count != 2:
            fact = "pictures that are not asked about twice"
            tally.add(fact, "MME judges pairs of questions", f"{picture} x{count}")
    unasked = sorted(set(answers) - set(times))
    faults = []
    if unasked:
        faults.append(
            f"{path}: pictures of {release} without a question: {len(unasked)} ({few(unasked)}); "
            "give LLaVA's whole file"
        )
    # Both questions about a picture come together, so that the first few samples hold pairs.
    order = {picture: place for place, picture in enumerate(times)}
    samples.sort(key=lambda sample: order[str(sample.place.group)])
    return Found(tuple(samples), stops=(*stops, *tally.lines()), faults=tuple(faults))


def _sample(one: dict[str, Any], release: Path, picture: str, time: int, right: str) -> Sample:
    return Sample(
        id=f"{one['question_id']}:{time}",  # both questions about a picture have one id
        images=(release / one["image"],),
        question=one["text"],
        references=(right,),
        place=Place(category=picture.split("/")[0], group=picture),
    )


def _answers(files: dict[str, Path]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Picture -> question -> yes or no; and what cannot be read."""
    found: dict[str, dict[str, str]] = {}
    stops: list[str] = []
    for picture, path in files.items():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            stops.append(f"{path}: cannot be read ({error}); copy it again")
            continue
        mine = found.setdefault(picture, {})
        for i, line in enumerate(lines):
            question, tab, answer = line.rstrip().partition("\t")
            if not line.strip():
                continue
            if not tab or answer.strip().lower() not in ("yes", "no"):
                stops.append(
                    f"{path}, line {i + 1}: no question, tab, Yes or No; copy the file again"
                )
            else:
                mine[_bare(question)] = answer.strip().lower()
    return found, stops
