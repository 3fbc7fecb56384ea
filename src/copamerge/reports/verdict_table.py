"""Verdicts of a run as rows and notes, whatever they are printed in."""

from collections.abc import Sequence

from copamerge.reports.run import Run
from copamerge.reports.tables import MISSING, baseline, scale_rules
from copamerge.reports.verdicts import BEST_NOTE, NOTE, Verdicts


def verdict_rows(run: Run, all_verdicts: Sequence[Verdicts]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows; a model that was compared with nothing has no row."""
    columns = [
        (verdicts, over)
        for verdicts in all_verdicts
        for over in run.sets
        if any(v.group == over.key for v in verdicts.found)
    ]
    heads = ["Method"] + [
        f"{over.title}, against {run.model(verdicts.against).shown}" for verdicts, over in columns
    ]
    rows = []
    for model in run.models:
        found = [vs.of(model.name, over.key) for vs, over in columns]
        if any(found):
            rows.append([model.shown, *(v.text if v else MISSING for v in found)])
    return heads, rows


def verdict_notes(run: Run, all_verdicts: Sequence[Verdicts]) -> list[str]:
    """How to read the verdicts, and how many were made."""
    made = sum(len(verdicts.found) for verdicts in all_verdicts)
    notes = [NOTE, f"{made} comparisons were made here."]
    copas = {baseline(run), *(baseline(run, rule) for rule in scale_rules(run))}
    if any(verdicts.against not in copas for verdicts in all_verdicts):
        notes.append(BEST_NOTE)
    return notes
