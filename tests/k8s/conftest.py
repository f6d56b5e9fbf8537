"""Builds the overlays with kubectl, from a copy with the example's secrets filled in."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import Build
from tests.paths import ROOT

BUILD_TIMEOUT_S = 60

WITHOUT_KEDA = "gpu-hpa"
"""The gpu overlay, changed for a cluster without KEDA as its comment says."""
OVERLAYS = (*sorted(folder.name for folder in (ROOT / "k8s/overlays").iterdir()), WITHOUT_KEDA)


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    """Every overlay, built."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip(
            "kubectl is missing, so k8s/ cannot be built: put version 1.27 or newer on the PATH"
            " (https://kubernetes.io/docs/tasks/tools/); it needs no cluster"
        )
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("k8s", "configs", "monitoring"):
        shutil.copytree(ROOT / folder, tree / folder)
    base, overlays = tree / "k8s/base", tree / "k8s/overlays"
    shutil.copy(base / "secrets.env.example", base / "secrets.env")
    shutil.copytree(overlays / "gpu", overlays / WITHOUT_KEDA)
    file = overlays / WITHOUT_KEDA / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("- ../../components/keda", "- ../../components/hpa-prometheus"))
    return {name: _build(kubectl, overlays / name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def build(request: pytest.FixtureRequest, builds: dict[str, Build]) -> Build:
    """Each overlay in turn."""
    return builds[request.param]


def _build(kubectl: str, folder: Path) -> Build:
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)],
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return Build(folder.name, list(yaml.safe_load_all(done.stdout)))
