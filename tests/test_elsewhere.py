"""Results in a storage of their own, and jobs on a cluster: the real plugins, the cluster a stand-in of this file.

The stand-in takes what the plugin for Kubernetes asks for and does it: every job is a shell in an empty folder that
sees the data, and nothing else of the checkout.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from tests.checkout import copy_checkout, environment, place

pytestmark = pytest.mark.full  # a minute
SMALL = ("datasets=[texture/gravel]", "methods=[pca]", "seeds=[0]")
# Where rsync is missing, which the plugin for file systems calls: copies its last argument but one to its last.
RSYNC = """#!/bin/sh
while [ $# -gt 2 ]; do shift; done
if [ -d "$1" ]; then mkdir -p "$2" && cp -pLr "$1/." "$2"; else cp -pL "$1" "$2"; fi
"""


class Cluster(ThreadingHTTPServer):
    """What the plugin needs of the API of Kubernetes; runs each job's command, and keeps what it was asked for."""

    def __init__(self, pods: Path, data: Path, env: dict):
        super().__init__(("127.0.0.1", 0), Api)
        self.pods, self.data, self.env = pods, data, env
        self.asked: dict[str, dict] = {}  # name of a job -> its specification
        self.printed: dict[str, str] = {}
        self.status: dict[str, dict] = {}
        self.secrets: dict[str, dict] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def job(self, body: dict) -> None:
        name, spec = body["metadata"]["name"], body["spec"]["template"]["spec"]
        container, = spec["containers"]
        self.asked[name], self.status[name] = spec, {"active": 1}
        folder = self.pods / name
        folder.mkdir(parents=True)
        if any(mount["mountPath"] == "/workdir/data" for mount in container["volumeMounts"]):
            (folder / "data").symlink_to(self.data)

        def work() -> None:
            done = subprocess.run([*container["command"], *container["args"]], cwd=folder, env=self.env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.printed[name] = done.stdout
            self.status[name] = {"succeeded": 1} if done.returncode == 0 else {"failed": 1}

        threading.Thread(target=work).start()


class Api(BaseHTTPRequestHandler):
    def answer(self, value: dict, code: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/jobs"):
            self.server.job(body)
        else:
            self.server.secrets[body["metadata"]["name"]] = body["data"]
        self.answer(body, 201)

    def do_GET(self) -> None:
        if found := re.search(r"/jobs/([^/]+)/status$", self.path):
            self.answer({"metadata": {"name": found[1]}, "status": self.server.status[found[1]]})
        else:  # its pods
            self.answer({"items": []})

    def do_DELETE(self) -> None:
        self.answer({"kind": "Status", "status": "Success"})

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """Programs that the plugins call, where this machine lacks them: a folder for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    scripts = {"pip": "#!/bin/sh\nexit 0\n"} | ({} if shutil.which("rsync") else {"rsync": RSYNC})
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


def call(folder: Path, tools: Path, *arguments: object, **variables: str) -> str:
    command = [sys.executable, "-m", "snakemake", *map(str, arguments), "--configfile", "tests/tiny.yaml"]
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment(folder) | {"PATH": path} | variables, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def stored(checkout, tools, tmp_path_factory):
    """Of a run whose results lie in a storage: (the storage, the call that makes them)."""
    store = tmp_path_factory.mktemp("store")
    arguments = ("--cores", 2, "tables", "--config", *SMALL, "--default-storage-provider", "fs",
                 "--default-storage-prefix", store)
    call(checkout, tools, *arguments)
    return store, arguments


def test_results_lie_in_the_storage_and_only_there(stored, checkout, tools):
    store, arguments = stored
    table = pd.read_csv(store / "results/runs/tiny/tables/main.csv")
    assert set(table["method"]) == {"pca"} and (place(store, "texture/gravel", "pca") / "maps.npz").is_file()
    assert not list(checkout.glob("results/texture/**/*.csv"))
    assert "Nothing to be done" in call(checkout, tools, *arguments)


def test_a_cluster_without_shared_files_gives_the_same_numbers(stored, checkout, tools, tmp_path):
    """profiles/kubernetes, with a folder in place of the bucket and the processor in place of the GPU."""
    pytest.importorskip("snakemake_executor_plugin_kubernetes")
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    cluster = Cluster(tmp_path / "pods", checkout / "data", variables | {"PATH": path})
    threading.Thread(target=cluster.serve_forever, daemon=True).start()
    (tmp_path / "kubeconfig").write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": cluster.url}}], "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}]}))
    store = tmp_path / "store"
    store.mkdir()
    try:
        call(checkout, tools, "--workflow-profile", "profiles/kubernetes", "tables", "--config", *SMALL, "device=cpu",
             "--default-storage-provider", "fs", "--default-storage-prefix", store,
             "--seconds-between-status-checks", 1,
             KUBECONFIG=str(tmp_path / "kubeconfig"), AWS_ACCESS_KEY_ID="mine", AWS_SECRET_ACCESS_KEY="hidden")
    finally:
        cluster.shutdown()
    scores = place(store, "texture/gravel", "pca").relative_to(store) / "scores.csv"
    for name in (scores, "results/runs/tiny/tables/main.csv"):
        assert (store / name).read_bytes() == (stored[0] / name).read_bytes()
    asked = {re.search(r"--target-jobs '(\w+):", spec["containers"][0]["args"][1])[1]: spec
             for spec in cluster.asked.values()}
    assert set(asked) == {"fit_and_score", "evaluate", "time_methods", "compare", "tables"}  # the data are made here
    container, = asked["fit_and_score"]["containers"]
    for kind in ("requests", "limits"):  # Kubernetes gives GPUs by their limit
        assert container["resources"][kind]["nvidia.com/gpu"] == "1"
        assert container["resources"][kind]["memory"] == "16000M"
    assert container["image"] == "radar-bench:latest"
    assert asked["fit_and_score"]["volumes"][1]["persistentVolumeClaim"] == {"claimName": "radar-data"}
    assert "nvidia.com/gpu" not in asked["evaluate"]["containers"][0]["resources"]["limits"]
    assert "hidden" not in json.dumps(cluster.asked)  # keys go as a secret
    assert any("aws_secret_access_key" in data for data in cluster.secrets.values())
