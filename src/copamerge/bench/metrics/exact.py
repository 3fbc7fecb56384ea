"""Answers that must equal a reference, up to capitals."""

from collections.abc import Sequence

from copamerge.bench.metrics._base import Accuracy, Mode


def _exact_upper(answer: str, references: Sequence[str], mode: Mode) -> bool:
    """Upper-case equality with any reference (the paper's tasks have one).

    Both modes alike: nothing is stripped, and `2.0` is not `2`.
    """
    return answer.upper() in {reference.upper() for reference in references}


def _exact_lower_unanswerable(answer: str, references: Sequence[str], mode: Mode) -> bool:
    """Lower-case equality with any reference.

    official: an answer with `Unanswerable` in it, so written, is wrong even where it is the
    reference. corrected: plain equality.
    """
    if mode == "official" and "Unanswerable" in answer:
        return False
    return answer.lower() in {reference.lower() for reference in references}


EXACT_UPPER = Accuracy(
    "exact_upper",
    "RobustMerge, llava/eval/eval_vqav2.py, eval_iconqa.py, eval_aokvqa.py",
    _exact_upper,
)
EXACT_LOWER_UNANSWERABLE = Accuracy(
    "exact_lower_unanswerable",
    "RobustMerge, llava/eval/eval_ocrvqa.py",
    _exact_lower_unanswerable,
)
