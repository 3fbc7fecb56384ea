"""A card made anew from what lies in a merged folder."""

import json
from pathlib import Path

from pydantic import ValidationError

from copamerge.errors import CopamergeError, OutputError
from copamerge.io._atomic import whole_file
from copamerge.merging.card import Scores, is_own, model_card
from copamerge.merging.folder import REPORT
from copamerge.merging.report import MergeReport
from copamerge.merging.sources import CARD


def read_report(folder: Path) -> MergeReport:
    """The merge.json of a merged folder, of this version or an earlier one.

    Raises:
        CopamergeError: there is none, or it is not what a merge writes.
    """
    path = folder / REPORT
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise CopamergeError(f"{folder}: {what}; give a folder that a merge wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(content, allow_nan=False)
        report = MergeReport.model_validate(content)
    except FileNotFoundError:
        raise CopamergeError(
            f"{folder}: was not written by a merge (no {REPORT} in it), so nothing says what it is "
            "made of"
        ) from None
    except OSError as error:
        raise CopamergeError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise CopamergeError(f"{path}: not what a merge writes ({place}: {first['msg']})") from None
    except (ValueError, RecursionError) as error:
        raise CopamergeError(f"{path}: not valid JSON ({str(error)[:100]})") from None
    if problem := _misfit(report):
        raise CopamergeError(f"{path}: not what a merge writes ({problem})")
    return report


def _misfit(report: MergeReport) -> str | None:
    """What the types do not say and the card relies on."""
    sources = report.recipe.get("adapters")
    if not isinstance(sources, list) or not all(isinstance(x, dict) for x in sources):
        return "recipe.adapters: expected a list of adapters"
    if len(sources) != len(report.inputs) or not sources:
        return f"{len(sources)} adapters in the recipe, {len(report.inputs)} inputs"
    owners = {i for saved in report.saved for i in saved.adapters}
    if owners - set(range(len(report.inputs))):
        return "saved.adapters: an index beyond the inputs"
    return None


def rewrite_card(folder: Path, scores: Scores | None = None, *, overwrite: bool = False) -> Path:
    """Write README.md of a merged folder anew, from its merge.json and these scores.

    A README.md that somebody else wrote or changed is replaced with `overwrite` only.

    Raises:
        CopamergeError: as `read_report` does.
        OutputError: what is there is not copamerge's, or nothing can be written.
    """
    report = read_report(folder)
    path = folder / CARD
    whole_file(path, model_card(report, scores), check=check_card, overwrite=overwrite)
    return path


def check_card(out: Path, *, overwrite: bool) -> None:
    """
    Raises:
        OutputError: a card that would be lost.
    """
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; move it away")
    try:
        own = not out.exists() or is_own(out.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        own = False
    except OSError as error:
        raise OutputError(f"{out}: cannot be read: {error.strerror}") from None
    if not own and not overwrite:
        raise OutputError(
            f"{out}: was not written by copamerge, or was changed since (its last line does not "
            "fit its text); --overwrite replaces it"
        )
