"""The manifests are valid, name settings that exist, and ask for no right that the service does not need."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
OVERLAYS = ("cluster", "one-machine", "hpa", "keda")
VERSION = "1.34"
"""The oldest version that is meant: before it a pause in `preStop` was not yet stable."""
FOREIGN = {"Kustomization", "ScaledObject"}
"""Kinds that are not Kubernetes' own, so that it has no schema of them."""


def documents(*folders: str) -> Iterator[dict[str, Any]]:
    for folder in folders:
        for file in sorted((FOLDER / folder).glob("*.yaml")):
            yield from yaml.safe_load_all(file.read_text())


def pods() -> list[Any]:
    return [
        document["spec"]["template"]["spec"]
        for document in documents(*OVERLAYS)
        if "template" in document.get("spec", {})
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_manifest_is_valid(overlay: str) -> None:
    """By Kubernetes' own schemas, which also know no field that is misspelled."""
    found = [document for document in documents(overlay) if document["kind"] not in FOREIGN]
    for document in found:
        kubernetes_validate.validate(document, VERSION, strict=True)
    if shutil.which("kubectl") is None:
        return
    built = subprocess.run(
        ["kubectl", "kustomize", FOLDER / overlay], capture_output=True, text=True, timeout=60, check=True
    )
    for document in yaml.safe_load_all(built.stdout):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_setting_that_is_named_exists() -> None:
    """A setting that was renamed would be ignored with a warning."""
    text = "".join(file.read_text() for file in FOLDER.rglob("*.yaml"))
    named = set(re.findall(r"\bSPILLWAY_([A-Z_]+)\b(?!=tcp)", text))
    assert named
    assert named <= {name.upper() for name in Settings.model_fields}


def test_pods_are_restricted() -> None:
    """As the pod security standard `restricted` wants, and without a token of the cluster."""
    assert len(pods()) == 3
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {"emptyDir"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_no_drain_is_cut_short() -> None:
    """A pod has time for its pause, for DRAIN_TIMEOUT and for some seconds more."""
    drain_s = Settings.model_fields["drain_timeout"].default
    for pod in pods():
        pause_s = pod["containers"][0].get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
        assert pod["terminationGracePeriodSeconds"] >= pause_s["preStop"]["sleep"]["seconds"] + drain_s + 10
