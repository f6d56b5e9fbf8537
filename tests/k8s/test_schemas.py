"""Every object is valid, by Kubernetes' schemas or, for the operators' kinds, by those here."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate.utils import all_versions, major_minor

from tests.k8s.manifests import Build, Manifest

SCHEMAS = Path(__file__).parent / "schemas"
OURS = ("ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule")
NEWEST = sorted({major_minor(one) for one in all_versions()}, key=lambda one: int(one[2:]))[-3:]


@pytest.mark.parametrize("version", NEWEST)
def test_every_object_is_valid_in_the_three_newest_versions(builds, version):
    distinct = {json.dumps(one): one for build in builds.values() for one in build.objects}
    checked = [one for one in distinct.values() if one["kind"] not in OURS]
    assert len(checked) > 20
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_wrong_object_is_refused(builds):
    for version in NEWEST:
        wrong = json.loads(json.dumps(builds["gpu"].workload("rollout")))
        wrong["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, version, strict=True)


def test_objects_of_operators_are_valid(build: Build):
    for one in build.of(*OURS):
        schema(one["kind"]).validate(one)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "streamLength"), 64),
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "lagCount"), "5"),
        ("ScaledObject", ("spec", "maxReplicas"), 3),
        ("TriggerAuthentication", ("spec", "secretTargetRef", 0, "parameter"), "pass"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "targetport"), 8000),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), 5),
    ],
)
def test_a_wrong_object_of_an_operator_is_refused(builds, kind, path, value):
    (one,) = builds["gpu"].of(kind)
    wrong: Manifest = json.loads(json.dumps(one))
    place: Any = wrong
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        schema(kind).validate(wrong)


@cache
def schema(kind: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        json.loads((SCHEMAS / f"{kind.lower()}.json").read_text(encoding="utf-8"))
    )
