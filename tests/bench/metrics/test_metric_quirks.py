"""Every quirk of the released scripts by name, with what it does to one answer in both modes.

Points of a single answer (MME: of a picture whose other answer is right), so a row can be held
against the released script by hand.
"""

import pytest

from copamerge.bench.metrics import METRICS
from copamerge.suites import Place

BOX = "[0.12, 0.30, 0.40, 0.78]"
FLAT = "[0.10, 0.40, 0.90, 0.45]"
QUARTER = "[0.5, 0.5, 1, 1]"

QUIRKS = [
    # name, metric, answer, reference, official, corrected
    ("two-way: an empty output is right", "two_way_substring", "", "Whippet", 100, 0),
    ("two-way: any fragment is right", "two_way_substring", "a", "Great white shark", 100, 0),
    ("two-way: Hip lies in Whippet", "two_way_substring", "Whippet", "Hip", 100, 0),
    ("two-way: Whippet holds Hip", "two_way_substring", "Hip", "Whippet", 100, 0),
    ("two-way: capitals do not count", "two_way_substring", "a WHIPPET!", "Whippet", 100, 100),
    ("VQAv2: a number in words is another", "exact_upper", "two", "2", 0, 0),
    ("VQAv2: a blank too many", "exact_upper", "yes ", "yes", 0, 0),
    ("TabMWP: numbers are text", "exact_upper", "2.0", "2", 0, 0),
    ("TabMWP: a comma is text", "exact_upper", "1,000", "1000", 0, 0),
    ("IconQA: capitals do not count", "exact_upper", "CIRCLE", "circle", 100, 100),
    ("OCR-VQA: capitals do not count", "exact_lower_unanswerable", "HARRY", "Harry", 100, 100),
    ("OCR-VQA: Unanswerable", "exact_lower_unanswerable", "Unanswerable", "Unanswerable", 0, 100),
    ("OCR-VQA: Unanswerable within", "exact_lower_unanswerable", "Unanswerable!", "no", 0, 0),
    ("OCR-VQA: unanswerable", "exact_lower_unanswerable", "unanswerable", "Unanswerable", 100, 100),
    ("ScienceQA: a small letter", "science", "b", "B", 0, 100),
    ("ScienceQA: a letter and a dot", "science", "B.", "B", 0, 100),
    ("ScienceQA: a letter, a dot, a blank", "science", "B. elk", "B", 100, 100),
    ("ScienceQA: the answer is, with a dot", "science", "The answer is B.", "B", 100, 100),
    ("ScienceQA: the answer is, without", "science", "The answer is B", "B", 0, 100),
    ("ScienceQA: the answer is Because", "science", "The answer is Because", "B", 100, 0),
    ("ScienceQA: two answers", "science", "The answer is A. The answer is B.", "B", 0, 0),
    ("ScienceQA: twice the same", "science", "The answer is B. The answer is B.", "B", 0, 100),
    ("ScienceQA: beyond the choices", "science", "E", "B", 0, 0),
    ("ScienceQA: an empty output", "science", "", "A", 0, 0),
    ("Grounding: 0.45 is read as 0.4", "grounding", FLAT, FLAT, 0, 100),
    ("Grounding: 0.78 as 0.7 does no harm here", "grounding", BOX, BOX, 100, 100),
    ("Grounding: a y2 of one digit", "grounding", "[0.12, 0.30, 0.40, 1]", BOX, 0, 100),
    ("Grounding: 1.00 first", "grounding", "[1.00, 0.30, 0.40, 0.78]", BOX, 100, 0),
    ("Grounding: words around", "grounding", f"It is at {BOX}", BOX, 0, 100),
    ("Grounding: a full stop after", "grounding", f"{BOX}.", BOX, 100, 100),
    ("Grounding: corners the wrong way", "grounding", "[0.40, 0.78, 0.12, 0.300]", BOX, 0, 100),
    ("Grounding: half is not enough", "grounding", "[0.5, 0.5, 1, 0.750]", QUARTER, 0, 0),
    ("Grounding: more than half is", "grounding", "[0.5, 0.5, 1, 0.7510]", QUARTER, 100, 100),
    ("Grounding: not clipped", "grounding", "[0.5, 0.5, 1.5, 1.00]", QUARTER, 0, 0),
    ("POPE: NO is yes", "pope", "NO", "yes", 100, 0),
    ("POPE: an empty output is yes", "pope", "", "yes", 100, 0),
    ("POPE: not is no", "pope", "It is not there", "yes", 0, 0),
    ("POPE: only the first sentence", "pope", "Yes. No dog, though.", "yes", 100, 0),
    ("POPE: a comma is removed", "pope", "Yes, there is", "yes", 100, 100),
    ("MME: know is no", "mme", "know", "No", 200, 50),
    ("MME: the first four characters", "mme", "It is yes", "Yes", 50, 200),
    ("MME: an empty output is other", "mme", "", "No", 50, 50),
    ("MMBench: a letter and a dot", "mmbench_circular", "B.", "B", 0, 100),
    ("MMBench: a small letter", "mmbench_circular", "b", "B", 0, 100),
    ("labels: capitals count", "top1", "Dog\ndog", "dog", 0, 0),
]


@pytest.mark.parametrize(
    "metric, answer, reference, official, corrected",
    [row[1:] for row in QUIRKS],
    ids=[row[0] for row in QUIRKS],
)
def test_quirk(metric, answer, reference, official, corrected):
    answers, references, places = [answer], [[reference]], [Place("random", "one")]
    if metric == "mme":
        answers, references = [answer, "yes"], [[reference], ["Yes"]]
        places = [Place("OCR", "one")] * 2

    assert METRICS[metric].points(answers, references, "official", places) == official
    assert METRICS[metric].points(answers, references, "corrected", places) == corrected


# For tasks of one's own: nobody has released a script for them.
OWN = {"exact", "contains", "number", "f1"}


def test_the_names_are_the_quirks():
    assert len({row[0] for row in QUIRKS}) == len(QUIRKS)
    assert {row[1] for row in QUIRKS} == set(METRICS) - {"caption6", "caption7"} - OWN
