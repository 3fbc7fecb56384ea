"""An output folder is there whole or not at all, whatever happens while it is written."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

import copamerge
from copamerge.errors import OutputError
from copamerge.io._atomic import KEPT, MARK, whole_folder
from copamerge.io.write import AdapterWriter
from makers import make_adapter, tree

MERGE = "from copamerge.cli import run; run()"


@pytest.fixture
def pair(tmp_path):
    return make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b", seed=1)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- the folder ----------------------------------------------------------------------------------


def test_nothing_is_visible_before_the_end(tmp_path):
    with whole_folder(tmp_path / "deep" / "out") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
        assert folder.parent == tmp_path / "deep"

    assert names(tmp_path / "deep") == ["out"] and names(tmp_path / "deep" / "out") == ["x"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_leaves_nothing_not_even_folders_above(tmp_path, error):
    with pytest.raises((error, OutputError)), whole_folder(tmp_path / "new" / "deep" / "out") as f:
        (f / "x").write_text("1")
        raise error

    assert names(tmp_path) == []


def test_folders_above_that_were_there_stay(tmp_path):
    (tmp_path / "mine").mkdir()

    with pytest.raises(RuntimeError), whole_folder(tmp_path / "mine" / "new" / "out"):
        raise RuntimeError

    assert names(tmp_path) == ["mine"] and names(tmp_path / "mine") == []


def test_a_failed_overwrite_keeps_what_was_there(tmp_path, pair, monkeypatch):
    copamerge.merge(pair).save_pretrained(tmp_path / "out")
    before = tree(tmp_path)
    monkeypatch.setattr(AdapterWriter, "verify", _fail)

    with pytest.raises(OutputError, match="No space left"):
        copamerge.merge(pair, "ties").save_pretrained(tmp_path / "out", overwrite=True)

    assert tree(tmp_path) == before


def _fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_replacement_that_was_killed_halfway_is_undone(tmp_path):
    # As SIGKILL leaves it between the two renames: the old folder aside, nothing at the output.
    aside = tmp_path / f".out{MARK}abcd1234"
    (aside / KEPT).mkdir(parents=True)
    (aside / KEPT / "merge.json").write_text("the old one")

    with pytest.raises(OutputError, match="already exists"), whole_folder(tmp_path / "out"):
        pass

    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "merge.json").read_text() == "the old one"


def test_what_came_there_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(OutputError, match="out: already exists"), whole_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "merge.json").write_text("another merge was faster")

    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "merge.json").read_text() == "another merge was faster"


def test_notes_that_came_meanwhile_are_not_overwritten(tmp_path, pair):
    copamerge.merge(pair).save_pretrained(tmp_path / "out")

    with pytest.raises(OutputError, match=r"holds notes\.txt beside an earlier merge"):
        with whole_folder(tmp_path / "out", overwrite=True):
            (tmp_path / "out" / "notes.txt").write_text("years of work")

    assert (tmp_path / "out" / "notes.txt").exists() and names(tmp_path) == ["a", "b", "out"]


def test_permissions_are_a_users_own(tmp_path):
    with whole_folder(tmp_path / "out"):
        pass
    (tmp_path / "plain").mkdir()

    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_leftovers_of_the_dead_are_swept_those_of_the_living_and_others_stay(tmp_path):
    dead = tmp_path / f".out[1]{MARK}abcdefgh"
    other = tmp_path / f".other{MARK}abcdefgh"
    mine = tmp_path / f".out[1]{MARK}my-own-notes"
    for folder in (dead, other, mine):
        folder.mkdir()
        (folder / "x").write_text("1")

    with whole_folder(tmp_path / "out[1]") as living, whole_folder(tmp_path / "out[1]x"):
        with pytest.raises(OutputError), whole_folder(tmp_path / "out[1]"):
            assert living.exists()
            raise OSError

    assert names(tmp_path) == [other.name, mine.name, "out[1]", "out[1]x"]


# --- killed --------------------------------------------------------------------------------------


def test_a_killed_merge_leaves_no_output_and_the_next_one_sweeps(tmp_path, pair, copamerge_cli):
    before = tree(tmp_path)
    # The writer stops for good when the first tensor is on disk, and is killed there.
    code = (
        "import os, time\nfrom copamerge.io.write import AdapterWriter\n"
        "write = AdapterWriter.write\n"
        "def slow(self, *tensor):\n    write(self, *tensor)\n"
        "    os.write(1, b'written\\n')\n    time.sleep(60)\n"
        "AdapterWriter.write = slow\n" + MERGE
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "merge", *map(str, pair), "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)

    assert process.returncode == -signal.SIGKILL
    (left,) = set(names(tmp_path)) - {"a", "b"}
    assert left.startswith(f".out{MARK}") and not (tmp_path / "out").exists()
    assert {k: v for k, v in tree(tmp_path).items() if not k.startswith(".")} == before

    assert copamerge_cli("merge", *pair, "-o", tmp_path / "out").code == 0
    assert names(tmp_path) == ["a", "b", "out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_polite_signals_clean_up(tmp_path, pair, untouched, number):
    untouched()
    # The writer waits until the interrupted walk ends its workers, however busy the machine is.
    code = (
        "import os, signal, threading\n"
        # Whoever started the tests may have had these ignored, as `nohup` and `&` do.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "from copamerge.io.write import AdapterWriter\n"
        "over, shutdown = threading.Event(), Pool.shutdown\n"
        "def ends(self, *a, **k):\n    over.set()\n    return shutdown(self, *a, **k)\n"
        "Pool.shutdown = ends\n"
        "def slow(self, *tensor):\n    os.write(1, b'writing\\n')\n    over.wait(60)\n"
        "AdapterWriter.write = slow\n" + MERGE
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "merge", *map(str, pair), "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"writing\n"
        time.sleep(0.1)
        process.send_signal(number)
        said = process.stderr.read().decode()

    assert process.returncode == 130, said
    assert "interrupted; nothing was written" in said and "Traceback" not in said


def test_nohup_still_protects_a_merge(tmp_path, pair):
    code = (
        "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from copamerge.io.write import AdapterWriter\nverify = AdapterWriter.verify\n"
        "def hung_up(self):\n    os.kill(os.getpid(), signal.SIGHUP)\n    verify(self)\n"
        "AdapterWriter.verify = hung_up\n" + MERGE
    )

    ran = subprocess.run(
        [sys.executable, "-c", code, "merge", *map(str, pair), "-o", str(tmp_path / "out")],
        capture_output=True,
        timeout=60,
    )

    assert ran.returncode == 0 and (tmp_path / "out" / "merge.json").exists()


def test_a_command_gives_the_signals_back(tmp_path, pair, copamerge_cli):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)

    copamerge_cli("merge", *pair, "-o", tmp_path / "out")
    copamerge_cli("merge", "nowhere", "-o", tmp_path / "out")

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


def test_a_command_runs_in_any_thread(tmp_path, pair, copamerge_cli):
    ran = []
    words = ("merge", *pair, "-o", tmp_path / "out")

    thread = threading.Thread(target=lambda: ran.append(copamerge_cli(*words)))
    thread.start()
    thread.join()

    assert ran[0].code == 0


# --- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_is_a_sentence(tmp_path, pair, copamerge_cli, untouched, monkeypatch):
    untouched()
    monkeypatch.setattr(os, "pwrite", _fail)

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "new" / "out")

    assert ran.code == 2
    assert ran.err == (
        f"error: {tmp_path / 'new' / 'out'}: writing failed: No space left on device (free some "
        "space, or choose another output); nothing was left there\n"
    )


def test_a_disk_that_fills_up_halfway(tmp_path, pair, copamerge_cli, untouched, monkeypatch):
    untouched()
    pwrite, calls = os.pwrite, []

    def fills_up(*args):
        calls.append(args)
        return pwrite(*args) if len(calls) < 5 else _fail()

    monkeypatch.setattr(os, "pwrite", fills_up)

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out")

    assert ran.code == 2 and "No space left on device" in ran.err and len(calls) >= 5


def test_a_limit_of_the_system_is_a_sentence(tmp_path, pair, untouched):
    untouched()
    code = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n" + MERGE
    )

    ran = subprocess.run(
        [sys.executable, "-B", "-c", code, "merge", *map(str, pair), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.returncode == 2 and "Traceback" not in ran.stderr
    assert "writing failed: File too large (free some space" in ran.stderr


@pytest.mark.parametrize("name", ["merge.json", "README.md", "adapter_config.json"])
def test_no_file_is_written_by_halves(tmp_path, pair, copamerge_cli, untouched, monkeypatch, name):
    from pathlib import Path

    untouched()
    write_text = Path.write_text

    def full(self, *args, **kwargs):
        return _fail() if self.name == name else write_text(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out")

    assert ran.code == 2 and "No space left on device" in ran.err


def test_short_writes_are_continued(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:7], at))
    x = torch.arange(15.0).view(5, 3)

    writer = AdapterWriter(tmp_path / "x.safetensors", {"x": ((5, 3), torch.float32)})
    writer.write("x", x)
    writer.close()
    writer.verify()

    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], x)


def test_a_lying_disk_is_found_out(tmp_path, pair, copamerge_cli, untouched, monkeypatch):
    untouched()
    pwrite = os.pwrite

    def flips_a_bit(fd, data, at):
        data = bytearray(data)
        data[-1] ^= 1 if at else 0
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", flips_a_bit)

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out")

    assert ran.code == 2
    assert "reads back differently from what was written" in ran.err and "the disk" in ran.err


def test_a_read_that_ends_early_is_found_out(tmp_path, pair, copamerge_cli, untouched, monkeypatch):
    untouched()
    monkeypatch.setattr(os, "preadv", lambda *_: 0)

    ran = copamerge_cli("merge", *pair, "-o", tmp_path / "out")

    assert ran.code == 2 and "reads back differently" in ran.err


def test_a_damaged_header_is_found_out(tmp_path):
    writer = AdapterWriter(tmp_path / "x.safetensors", {"x": ((2,), torch.float32)})
    writer.write("x", torch.ones(2))
    writer.close()
    data = bytearray((tmp_path / "x.safetensors").read_bytes())
    data[data.index(b'"x"') + 1] = ord("y")
    (tmp_path / "x.safetensors").write_bytes(data)

    with pytest.raises(OutputError, match="the header reads back differently"):
        writer.verify()


def test_an_input_that_vanishes_is_named(tmp_path, pair, copamerge_cli, monkeypatch):
    from copamerge.io import tensorfile

    monkeypatch.setattr(tensorfile, "RECYCLE_AFTER", 0)
    plan = copamerge.plan(copamerge.Recipe(adapters=[str(path) for path in pair]))
    (pair[0] / "adapter_model.safetensors").write_bytes(b"gone")

    with pytest.raises(
        copamerge.AdapterError, match=r"a/adapter_model\.safetensors: changed while"
    ):
        for adapter in plan.adapters:
            for layer in adapter.layers:
                adapter.module(layer)
