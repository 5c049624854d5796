"""Promise: a file or folder is there whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from l1flow_agents.data.robomimic_writer import RobomimicWriter
from l1flow_agents.errors import ConfigError
from l1flow_agents.files import old_name, output_path, replaced_folder, replacing, write_atomically


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "film.mp4"
    write_atomically(path, "old")
    with replacing(path) as temporary:
        assert temporary.suffix == ".mp4" and temporary.parent == path.parent and not temporary.exists()
        temporary.write_bytes(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(path.parent) == ["film.mp4"]


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path, folder, scratch = tmp_path / "a.txt", tmp_path / "agent", tmp_path / "parts"
    scratch.mkdir()
    write_atomically(path, b"old")
    with replaced_folder(folder) as made:
        (made / "old").touch()
    with pytest.raises(error), replacing(path, scratch) as temporary:
        temporary.write_text("half")
        assert names(scratch) == [temporary.name]
        raise error
    with pytest.raises(error), replaced_folder(folder) as made:
        (made / "half").touch()
        raise error
    assert names(tmp_path) == ["a.txt", "agent", "parts"] and names(scratch) == []
    assert path.read_text() == "old" and names(folder) == ["old"]


def test_a_folder_takes_the_place_of_another_and_of_a_waiting_one(tmp_path):
    folder = tmp_path / "agent"
    for content in ("one", "two"):
        with replaced_folder(folder) as made:
            (made / "inside").mkdir()
            (made / "inside" / content).touch()
        old_name(folder).mkdir()  # as a kill between the renames leaves it
    assert names(folder / "inside") == ["two"] and folder.stat().st_mode & 0o777 == 0o755


UNWRITABLE = ("", None, 5, "a\0b", "/proc/x", "file/x", "/dev/null/x", "x" * 300)


@pytest.mark.parametrize("path", [*UNWRITABLE, "file"])
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, make_agent, path):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for write in (lambda: output_path(path, folder=True), lambda: make_agent().save(path)):
        with pytest.raises(ConfigError, match=r"path|cannot be written") as refused:
            write()
        assert len(str(refused.value).splitlines()) == 1
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("path", [*UNWRITABLE, "."])
def test_a_file_that_cannot_be_written(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ConfigError, match=r"path|cannot be written"):
        RobomimicWriter(path, {})
    assert names(tmp_path) == ["file"]


def test_asking_whether_a_path_can_be_written_leaves_nothing(tmp_path):
    assert output_path(tmp_path / "new" / "agent", folder=True) == tmp_path / "new" / "agent"
    assert output_path(tmp_path, folder=True) == tmp_path and names(tmp_path) == []


def test_one_process_at_a_time_writes_a_run_or_a_file(tmp_path, make_agent, make_episodes):
    """The other is told, and touches nothing; one that was killed is in nobody's way."""
    run_dir, file = tmp_path / "run", tmp_path / "lift.hdf5"
    code = (
        "import sys, time; from pathlib import Path; from l1flow_agents.files import SoleWriter\n"
        "held = [SoleWriter(Path(path)) for path in sys.argv[1:]]; print(flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(run_dir), str(file)], stdout=subprocess.PIPE)
    other.stdout.readline()

    def learn():
        make_agent().learn(make_episodes(), 2, run_dir=run_dir, batch_size=4)

    def write():
        RobomimicWriter(file, {}).close()

    for work, path in ((learn, run_dir), (write, file)):
        with pytest.raises(ConfigError, match=f"^{path}: another process is writing there"):
            work()
    assert not list(tmp_path.iterdir())
    other.kill()
    other.wait()
    learn()
    write()
    write()
    assert (run_dir / "progress.csv").exists()
