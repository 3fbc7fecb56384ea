"""Names of adapters to local paths: folders, files and Hub ids."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from copamerge.errors import AdapterError
from copamerge.io.llava import EXTRAS as LLAVA_FILES

HUB_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?(?::(?P<sub>[\w./-]+))?"
)

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
"""How names of weights files end; a repository's does not."""


@dataclass(frozen=True)
class Location:
    """Where an adapter lies on this machine."""

    path: Path
    revision: str | None = None
    """The commit it was downloaded at; None for local paths."""


def locate(name: str) -> Location:
    """A local path if there is one, otherwise `org/name[@revision][:subfolder]` from the Hub.

    Something that exists on disk never touches the network. HF_HUB_OFFLINE, HF_HOME, HF_TOKEN
    and the other variables of huggingface_hub apply.

    Raises:
        AdapterError: nothing there, and not a Hub id, or the Hub said no.
    """
    if not name.strip():
        raise AdapterError("an adapter's name is empty; give its folder, file or Hub id")
    try:
        path = Path(name).expanduser()
        if path.exists():
            return Location(path)
    except (OSError, RuntimeError):  # a name too long for a path, or ~ of nobody: not a local path
        path = Path(name[:100])
    match = HUB_ID.fullmatch(name)
    if match is None or ".." in re.split(r"[/:@]", name):
        raise AdapterError(
            f"{_shortened(name)}: no such file or folder, and not a Hub id "
            f"(org/name, with an optional @revision and :subfolder){_neighbour(path)}"
        )
    if not (match["revision"] or match["sub"]):
        _check_not_local(name, path)
    return _download(name, match["repo"], match["revision"], match["sub"])


def _check_not_local(name: str, path: Path) -> None:
    """Two words with a slash may be a Hub id, but not where they name a place on this machine.

    Raises:
        AdapterError: they do, and nothing is there.
    """
    if path.suffix in WEIGHTS:
        raise AdapterError(f"{name}: no such file{_neighbour(path)}")
    if path.parent.is_dir():
        raise AdapterError(
            f"{name}: no such file or folder{_neighbour(path)}; {str(path.parent)!r} is a folder "
            "here, so the Hub was not asked (name@main would be a Hub id)"
        )


def _shortened(name: str) -> str:
    name = name if name.isprintable() else repr(name)
    return name if len(name) <= 200 else name[:200] + "..."


def _neighbour(path: Path) -> str:
    """`; did you mean 'adapters/legal'?`, where a folder beside has nearly this name."""
    try:
        beside = {entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")}
    except OSError:
        return ""
    close = get_close_matches(path.name, sorted(beside), n=1, cutoff=0.7)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""


def _download(name: str, repo: str, revision: str | None, subfolder: str | None) -> Location:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    folder = f"{subfolder.strip('/')}/" if subfolder else ""
    wanted = [
        folder + file for file in ("adapter_config.json", "config.json", "README.md", *LLAVA_FILES)
    ]
    try:
        root = snapshot_download(
            repo, revision=revision, allow_patterns=[*wanted, folder + "adapter_model.safetensors"]
        )
        if not (Path(root) / folder / "adapter_model.safetensors").exists():
            root = snapshot_download(
                repo, revision=revision, allow_patterns=[*wanted, folder + "adapter_model.bin"]
            )
    except GatedRepoError:
        reason = f"the Hub has {repo}, but it is gated; accept its terms and set HF_TOKEN"
    except RevisionNotFoundError:
        reason = f"the Hub has {repo}, but no revision {revision!r}"
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            reason = "not in the local Hub cache, and the Hub cannot be reached or is switched off"
        else:
            reason = f"the Hub has no {repo} (a private one needs HF_TOKEN)"
    except (OfflineModeIsEnabled, ConnectionError):
        reason = "not in the local Hub cache, and the Hub cannot be reached or is switched off"
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = f"the Hub cannot be asked for it: {str(error).splitlines()[0][:200]}"
    else:
        path = Path(root) / folder if folder else Path(root)
        if not path.exists():
            raise AdapterError(f"{name}: {repo} has no folder {subfolder!r} with an adapter")
        return Location(path, revision=Path(root).name)
    raise AdapterError(
        f"{name}: no such folder here{_neighbour(Path(name))}; and as a Hub id: {reason}"
    )
