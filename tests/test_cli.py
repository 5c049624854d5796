"""Promise: one command does what its help says, a user's mistake is one line and exit code 2."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml

from l1flow_agents.cli import main
from l1flow_agents.data import download
from l1flow_agents.errors import ConfigError, DatasetError, DownloadError
from l1flow_agents.experiments import config_names, new_agent, read_experiment

TINY = """
env: PushT-v0
env_kwargs: {obs_type: state, max_episode_steps: 10}
dataset: toy.zarr
agent: {network: mlp, network_kwargs: {width: 16, depth: 1}}
training: {total_steps: 6, batch_size: 8, log_every: 2, checkpoint_every: 2, warmup_steps: 2}
evaluation: {every: 4, n_episodes: 1, n_envs: 1}
"""


@pytest.fixture
def experiment(replay, tmp_path, monkeypatch) -> Path:
    """A folder with a small data set and a configuration for it."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    return tmp_path


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_train_then_eval_then_rollout(experiment, capsys):
    late = "training.log_every=1"  # an override may also stand behind an option
    code, out, _ = run(capsys, "train", "tiny.yaml", "training.learning_rate=0.001", "--threads", "1", late)
    assert code == 0 and "runs/tiny/agent" in out
    saved = yaml.safe_load(Path("runs/tiny/experiment.yaml").read_text())
    assert saved["training"]["learning_rate"] == 0.001, "the merged configuration is kept"
    assert saved["training"]["log_every"] == 1
    assert "eval/mean_score" in Path("runs/tiny/progress.csv").read_text()

    agent = "runs/tiny/agent"
    code, out, _ = run(
        capsys, "eval", agent, "-n", "2", "--seed", "5", "--json", "--output", "scores", "--success-key", "won"
    )
    result = json.loads(out)
    assert code == 0 and [e["seed"] for e in result["episodes"]] == [5, 6]
    assert result["success_rate"] is None and result["success_key"] == "won"
    assert result["env"]["max_episode_steps"] == 10 and max(e["length"] for e in result["episodes"]) == 10
    assert json.loads(Path("scores/results.json").read_text())["command"].startswith("l1flow eval runs/tiny/agent")

    code, out, _ = run(capsys, "rollout", agent, "-n", "1", "--films", "1", "--grid", "--overlay", "--output", "films")
    assert code == 0 and "95 % interval" in out
    assert {path.name for path in Path("films").iterdir()} == {"episodes.mp4", "results.json"}

    code, out, _ = run(capsys, "info", agent)
    assert code == 0 and yaml.safe_load(out)["env"]["id"] == "PushT-v0"


def test_a_finished_training_is_not_repeated(experiment, capsys):
    run(capsys, "train", "tiny.yaml")
    before = Path("runs/tiny/agent/model.safetensors").read_bytes()
    assert run(capsys, "train", "tiny.yaml")[0] == 0
    assert Path("runs/tiny/agent/model.safetensors").read_bytes() == before
    code, _, err = run(capsys, "train", "tiny.yaml", "training.batch_size=4")
    assert code == 2 and "batch_size" in err and "8" in err


def test_a_training_that_diverges_is_one_line_and_code_1(experiment, capsys):
    wild = ("training.learning_rate=1e30", "training.warmup_steps=0", "training.grad_clip=0", "training.total_steps=20")
    code, _, err = run(capsys, "train", "tiny.yaml", *wild)
    assert code == 1 and "at step" in err and "Traceback" not in err
    assert not Path("runs/tiny/agent").exists()


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("train", "pusht-stat"), "pusht-state"),
        (("train", "tiny.yaml", "training.batchsize=3"), "batch_size"),
        (("train", "tiny.yaml", "trainig.batch_size=3"), "training"),
        (("train", "tiny.yaml", "training.batch_size"), "part.setting=value"),
        (("train", "tiny.yaml", "agent.network=unett"), "unet"),
        (("train", "tiny.yaml", "agent.network_kwargs={widht: 3}"), "width"),
        (("train", "tiny.yaml", "env=PushTT-v0"), "PushT"),
        (("train", "tiny.yaml", "--dataset", "nowhere.zarr"), "nowhere.zarr"),
        (("train", "tiny.yaml", "--device", "tpu"), "tpu"),
        (("train", "tiny.yaml", "training.batch_size=many"), "many"),
        (("train", "tiny.yaml", "--run-dir", "tiny.yaml"), "found a file"),
        (("train", "tiny.yaml", "--run-dir", "tiny.yaml/x"), "cannot be written"),
        (("train", "tiny.yaml", "training.symmetry=square"), "symmetry"),
        (("eval", "no-such-agent"), "no-such-agent"),
        (("eval", "tiny.yaml"), "folder"),
        (("eval", "pusht-state", "--output", "tiny.yaml"), "found a file"),
        (("rollout", "pusht-state", "--output", "/proc/x"), "cannot be written"),
        (("compare", "--env", "PushT-v0", "--output", "tiny.yaml/x"), "cannot be written"),
        (("rollout",), "--env"),
        (("rollout", "--env", "PushTT-v0"), "PushT"),
        (("rollout", "--env", "CartPole-v1"), "CartPole-v1"),
        (("rollout", "--env", "no_module:X-v0"), "no_module"),
        (("info", "nothing-here"), "nothing-here"),
        (("info", "toy.zarr/data"), "toy.zarr/data"),
        (("download", "pushed"), "pusht"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(experiment, capsys, argv, reason):
    code, out, err = run(capsys, *argv)
    assert code == 2 and out == ""
    assert err.startswith("l1flow") and err.count("\n") == 1 and reason in err
    assert not Path("runs").exists()
    assert not Path("runs").exists(), "nothing half-made is left"


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("fly",),
        ("eval",),
        ("eval", "x", "-n", "0"),
        ("eval", "x", "-n", "ten"),
        ("train", "pusht-state", "--threads", "1", "--batch=4"),
        ("train", "pusht-state", "--threads", "1", "more"),
        ("eval", "x", "--json", "a=1"),
        ("eval", "x", "--success-key", ""),
    ],
)
def test_argparse_answers_with_code_2(argv):
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert error.value.code == 2


def test_the_console_script_never_shows_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "l1flow_agents.cli", "eval", "nobody"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and "nobody" in done.stderr


def test_info_of_installation_and_data(replay, capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0 and "PushT-v0" in yaml.safe_load(out)["environments"]
    code, out, _ = run(capsys, "info", str(replay))
    assert code == 0
    described = yaml.safe_load(out)
    assert described["episodes"] == 3 and described["observations"]["image"]["dtype"] == "uint8"
    assert described["action"]["lowest"] == pytest.approx([1, 1], abs=60), "ranges, as they are"
    assert not (replay.parent / "cache").exists(), "pictures are not converted to be described"


@pytest.mark.parametrize("name", config_names())
def test_bundled_configurations_fit_their_environments(name):
    experiment = read_experiment(name)
    agent, env = new_agent(experiment), gym.make(experiment.env, **experiment.env_kwargs)
    assert agent.predict(env.reset(seed=0)[0])[0].shape == env.action_space.shape


def test_overrides_make_new_groups(experiment):
    merged = read_experiment("tiny.yaml", ["agent.method_kwargs.loss=mse", "training.total_steps=9"])
    assert merged.agent.method_kwargs == {"loss": "mse"} and merged.training.total_steps == 9
    with pytest.raises(ConfigError, match="value, not a group"):
        read_experiment("tiny.yaml", ["dataset.x=1"])


# ---- download ---------------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, continues a broken download, and can break one off."""

    breaks_off = False

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if begin >= len(data):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        self.wfile.write(data[begin : begin + (len(data) // 2 if Handler.breaks_off else len(data))])
        type(self).served.append(begin)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(replay, tmp_path, monkeypatch):
    """A local server with the toy data set as ``toy.zip``, published under the name ``toy``."""
    web = tmp_path / "web"
    web.mkdir()
    with zipfile.ZipFile(web / "toy.zip", "w") as zipped:
        for file in replay.rglob("*"):
            zipped.write(file, Path("folder/toy.zarr") / file.relative_to(replay))
    Handler.breaks_off, Handler.served = False, []
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(web)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_address[1]}/toy.zip"
    fingerprint = download.read_replay_zarr(replay, keys=["state", "agent_pos"]).fingerprint
    published = download.Published(url, "folder/toy.zarr", fingerprint)
    monkeypatch.setitem(download.PUBLISHED, "toy", published)
    monkeypatch.setenv("L1FLOW_DATA", str(tmp_path / "home"))
    yield web / "toy.zip"
    httpd.shutdown()
    httpd.server_close()


def test_download_fetches_checks_and_finds(server, tmp_path, capsys):
    with pytest.raises(DatasetError, match="l1flow download toy"):
        download.locate("toy")
    code, out, _ = run(capsys, "download", "toy")
    assert code == 0 and out.strip() == str(download.locate("toy"))
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["toy.zarr"]
    assert run(capsys, "download", "toy")[0] == 0 and Handler.served == [0], "not fetched twice"


def test_training_fetches_what_is_published(server, experiment, tmp_path, capsys):
    (tmp_path / "toy.zarr").rename(tmp_path / "elsewhere")
    code, _, err = run(capsys, "train", "tiny.yaml", "dataset=toy")
    assert code == 0 and f"toy is not in {tmp_path / 'home'} and is fetched from http" in err
    assert run(capsys, "train", "tiny.yaml", "dataset=toy")[0] == 0 and Handler.served == [0]


def test_a_broken_download_is_continued(server, tmp_path):
    Handler.breaks_off = True
    with pytest.raises(DownloadError, match="run the command again"):
        download.download("toy", progress_bar=False)
    assert not (tmp_path / "home" / "toy.zarr").exists()
    Handler.breaks_off = False
    download.download("toy", progress_bar=False)
    assert Handler.served == [0, server.stat().st_size // 2]


def test_a_download_that_is_whole_but_not_unpacked_is_used(server, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "toy.zip.part").write_bytes(server.read_bytes())
    assert download.download("toy", progress_bar=False).exists()


@pytest.mark.parametrize("damage", ["garbage", "other content", "other folder"])
def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path, damage, replay):
    if damage == "garbage":
        server.write_bytes(b"<html>moved</html>" * 100)
    else:
        with zipfile.ZipFile(server, "w") as zipped:
            for file in replay.rglob("*"):
                root = "folder/toy.zarr" if damage == "other content" else "elsewhere"
                name = str(Path(root) / file.relative_to(replay))
                if file.is_file() and "meta/episode_ends/0" in name:
                    zipped.writestr(name, file.read_bytes()[::-1])
                else:
                    zipped.write(file, name)
    with pytest.raises((DownloadError, DatasetError)):
        download.download("toy", progress_bar=False)
    left = [path.name for path in (tmp_path / "home").iterdir()]
    assert "toy.zarr" not in left and not any(name.startswith(".") for name in left)


def test_a_server_that_says_no_is_quoted(server, capsys):
    server.unlink()
    code, _, err = run(capsys, "download", "toy")
    assert code == 1 and "404" in err and err.count("\n") == 1


def test_no_server_at_all(server, capsys):
    code, _, err = run(capsys, "download", "toy", "--url", "http://127.0.0.1:9/toy.zip")
    assert code == 1 and "127.0.0.1:9" in err


def test_the_published_fingerprint_is_that_of_the_real_data(real_data):
    episodes = download.read_replay_zarr(real_data, keys=["state", "agent_pos"])
    assert episodes.fingerprint == download.PUBLISHED["pusht"].fingerprint
    with contextlib.suppress(KeyError):
        np.testing.assert_array_equal(episodes.observations["agent_pos"], episodes.observations["state"][:, :2])
