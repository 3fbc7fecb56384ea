"""What a training leaves: folders that appear whole, each with what made it."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from copamerge.errors import OutputError
from copamerge.io._atomic import whole_folder
from copamerge.training.places import ASKED, RECORD, Trained, found_at, versions, work_of

SKIPPED = "skipped.jsonl"
"""In the hidden folder: pictures that did not open."""

Tell = Callable[[str, int, int, float | None], None]
"""(what is being trained, step, of, loss)"""


def trained(
    out: Path, made_by: dict[str, Any], train: Callable[[Path, Path], dict[str, Any]]
) -> Trained:
    """What is at `out`, or is trained now: `train` gets a folder for its checkpoints and the one
    that becomes `out`, and says what belongs into the record beside `made_by`.

    Raises:
        OutputError: something else is there, or was begun there.
    """
    if (there := found_at(out, made_by, "another output")) is not None:
        return Trained(out, there, is_new=False)
    work, started = work_of(out), time.monotonic()
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / ASKED).write_text(json.dumps(made_by), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror}") from None
    with whole_folder(out) as folder:
        found = train(work / "run", folder)
        seconds = round(time.monotonic() - started, 1)
        record = {
            "made_by": made_by,
            "stages": [{"stage": out.name, "seconds": seconds, "loss": found.pop("loss")}],
            "versions": versions(),
            **found,
        }
        (folder / "README.md").unlink(missing_ok=True)
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (folder / RECORD).write_text(text, encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return Trained(out, record, is_new=True)
