"""Reads built manifests."""

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

NAME = "app.kubernetes.io/name"
NUMBER = "apps.kubernetes.io/pod-index"
"""The label that the controller of a StatefulSet gives each pod; Kubernetes 1.28 and newer."""


@dataclass(frozen=True)
class Build:
    """All objects of one overlay."""

    overlay: str
    objects: list[Manifest]

    def of(self, *kinds: str) -> list[Manifest]:
        """The objects of these kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def names(self, kind: str) -> set[str]:
        """The names of the objects of one kind."""
        return {one["metadata"]["name"] for one in self.of(kind)}

    def workloads(self) -> list[Manifest]:
        """The objects that create pods."""
        return self.of("Deployment", "StatefulSet", "Job")

    def workload(self, name: str) -> Manifest:
        """The workload of that name."""
        (found,) = (one for one in self.workloads() if one["metadata"]["name"] == name)
        return found


def pod(workload: Manifest) -> Manifest:
    """The specification of a workload's pods."""
    return workload["spec"]["template"]["spec"]


def pod_labels(workload: Manifest) -> dict[str, str]:
    """The labels of a workload's pods."""
    return workload["spec"]["template"]["metadata"]["labels"]


def pods(workload: Manifest) -> list[dict[str, str]]:
    """The labels of each of a workload's pods, including those that the controller adds."""
    labels = pod_labels(workload)
    if workload["kind"] != "StatefulSet":
        return [labels]
    return [{**labels, NUMBER: str(number)} for number in range(workload["spec"]["replicas"])]


def containers(workload: Manifest) -> list[Manifest]:
    """All containers of a workload's pods, including init containers."""
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector selects these labels; an empty one selects everything."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In", "the only operator used here"
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True
