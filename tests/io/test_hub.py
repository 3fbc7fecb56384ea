"""Names to places: local paths first, then the Hub's own code over a prepared cache."""

import socket
import subprocess
import sys

import pytest

from copamerge.errors import AdapterError
from copamerge.io.hub import locate
from makers import make_adapter

COMMIT = "a" * 40
OTHER = "b" * 40


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"touched the network: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def cache(tmp_path, monkeypatch, no_network):
    """A Hub cache with one repository: main, the tag v2, and a subfolder."""
    from huggingface_hub import constants

    repo = tmp_path / "home" / "hub" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "refs" / "v2").write_text(OTHER)
    make_adapter(repo / "snapshots" / COMMIT)
    make_adapter(repo / "snapshots" / COMMIT / "sub" / "deep", seed=1)
    make_adapter(repo / "snapshots" / OTHER, seed=2, weights="bin")
    # huggingface_hub reads its variables when it is imported, which may be long past.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(repo.parent))
    monkeypatch.chdir(tmp_path)
    return repo.parent


@pytest.mark.parametrize(
    "name, place, revision",
    [
        ("org/name", COMMIT, COMMIT),
        ("org/name@v2", OTHER, OTHER),
        (f"org/name@{OTHER}", OTHER, OTHER),
        ("org/name:sub/deep", f"{COMMIT}/sub/deep", COMMIT),
        ("org/name@main:sub/deep", f"{COMMIT}/sub/deep", COMMIT),
    ],
)
def test_ids_revisions_and_subfolders(cache, name, place, revision):
    found = locate(name)

    assert found.path.resolve() == cache / "models--org--name" / "snapshots" / place
    assert found.revision == revision


def test_a_merge_of_hub_adapters_names_their_commits(cache, tmp_path, copamerge_cli):
    ran = copamerge_cli("merge", "org/name", "org/name@v2", "-o", tmp_path / "out")

    assert ran.code == 0, ran.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert COMMIT in card and OTHER in card


@pytest.mark.parametrize(
    "name, told",
    [
        ("org/none", "org/none: no such folder here; and as a Hub id: not in the local Hub cache"),
        ("org/name@v3", "org/name@v3: no such folder here; and as a Hub id: not in the local Hub"),
        ("org/name:nowhere", "org/name has no folder 'nowhere' with an adapter"),
        ("org/name:../../..", "no such file or folder, and not a Hub id"),
        ("org/name@../main", "no such file or folder, and not a Hub id"),
        ("org/-bad-.", "no such f"),
        ("name", "no such file or folder, and not a Hub id (org/name, with an optional @revision"),
    ],
)
def test_what_is_not_there(cache, name, told):
    with pytest.raises(AdapterError) as caught:
        locate(name)

    assert told in str(caught.value) and len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "name, told",
    [
        ("org/missing.safetensors", "org/missing.safetensors: no such file"),
        ("bad/legal.bin", "bad/legal.bin: no such file; did you mean 'bad/legal'?"),
        ("bad/leagl", "did you mean 'bad/legal'?; 'bad' is a folder here, so the Hub was not"),
        ("bad/name", "bad/name: no such file or folder; 'bad' is a folder here, so the Hub was"),
    ],
)
def test_a_place_on_this_machine_is_not_looked_for_on_the_hub(
    tmp_path, monkeypatch, no_network, name, told
):
    monkeypatch.chdir(tmp_path)
    make_adapter(tmp_path / "bad" / "legal")

    with pytest.raises(AdapterError) as caught:
        locate(name)

    assert told in str(caught.value) and "Hub id: " not in str(caught.value)


def test_a_revision_says_that_the_hub_is_meant(cache, tmp_path):
    (tmp_path / "org").mkdir()

    assert locate("org/name@main").revision == COMMIT


def test_a_subfolder_without_an_adapter(cache):
    (cache / "models--org--name" / "snapshots" / COMMIT / "empty").mkdir()

    with pytest.raises(AdapterError):
        from copamerge.io import open_adapter

        open_adapter("org/name:empty")


def test_a_local_path_never_touches_the_network(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    make_adapter(tmp_path / "org" / "name")

    # The same words would be a Hub id if nothing lay there.
    assert locate("org/name").path.samefile(tmp_path / "org" / "name")
    assert locate("org/name").revision is None


@pytest.mark.parametrize(
    "error, told",
    [
        ("GatedRepoError", "it is gated; accept its terms and set HF_TOKEN"),
        ("RevisionNotFoundError", "but no revision 'v9'"),
        ("RepositoryNotFoundError", "the Hub has no org/name (a private one needs HF_TOKEN)"),
        ("OfflineModeIsEnabled", "cannot be reached or is switched off"),
        ("LocalEntryNotFoundError", "cannot be reached or is switched off"),
        ("HfHubHTTPError", "the Hub cannot be asked for it"),
    ],
)
def test_what_the_hub_says_is_passed_on(tmp_path, monkeypatch, error, told):
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, error)
    problem = kind.__new__(kind)
    Exception.__init__(problem, "the Hub's own words")

    def refuse(*args, **kwargs):
        raise problem

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)

    with pytest.raises(AdapterError) as caught:
        locate("org/name@v9")

    assert told in str(caught.value)


def test_the_environment_decides(tmp_path):
    repo = tmp_path / "home" / "hub" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    make_adapter(repo / "snapshots" / COMMIT)
    code = "from copamerge.cli import run; run()"

    ran = subprocess.run(
        [sys.executable, "-c", code, "inspect", "org/name"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PATH": ""},
        timeout=60,
    )

    assert ran.returncode == 0, ran.stderr
    assert "org/name" in ran.stdout
