"""The Kubernetes overlays: built with kubectl, valid, and consistent in themselves."""

import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.35", "1.36", "1.37")
CUSTOM = yaml.safe_load(Path(__file__).with_name("schemas.yaml").read_text())
COMPONENT = "app.kubernetes.io/component"
# Made by the user before the first start; no secret is in the repository.
SECRETS = {"perl-rl-secrets": {"redis-password", "token"}}
ROUTES = {"rollout": "rollout", "reward": "reward", "trainer": "trainer"}


@pytest.fixture(scope="module", params=["cpu-demo", "gpu"])
def objects(request):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; see kubernetes.io/docs/tasks/tools")
    folder = ROOT / "k8s" / "overlays" / request.param
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of(objects, *kinds):
    return [one for one in objects if one["kind"] in kinds]


def pods(objects):
    return {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in of(objects, "Deployment", "StatefulSet", "Job")
    }


def matches(selector, labels):
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(objects, version):
    for one in objects:
        if one["kind"] not in CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)


def test_custom_objects_are_valid(objects):
    custom = [one for one in objects if one["kind"] in CUSTOM]
    assert {one["kind"] for one in custom} == CUSTOM.keys()
    for one in custom:
        jsonschema.validate(one["spec"], CUSTOM[one["kind"]])


def test_the_plain_autoscaler_is_valid_and_scales_rollout():
    folder = ROOT / "k8s" / "components" / "hpa"
    scaler = yaml.safe_load((folder / "autoscaler.yaml").read_text())
    assert scaler["spec"]["scaleTargetRef"]["name"] == "rollout"
    metric = scaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    assert f'Gauge("{metric}"' in (ROOT / "services" / "trainer" / "app.py").read_text()
    for version in VERSIONS:
        kubernetes_validate.validate(scaler, version, strict=True)


def test_selectors_match_pods_and_ports_exist(objects):
    templates = pods(objects)
    for one in of(objects, "Deployment", "StatefulSet", "PodDisruptionBudget"):
        labels = [template["metadata"]["labels"] for template in templates.values()]
        assert any(matches(one["spec"]["selector"], each) for each in labels), one["metadata"]
    for service in of(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (pod,) = [t for t in templates.values() if matches(selector, t["metadata"]["labels"])]
        names = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_what_is_mounted_or_read_exists(objects):
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for pod in pods(objects).values():
        spec = pod["spec"]
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in there
        for variable in spec["containers"][0].get("env", []):
            secret = variable["valueFrom"]["secretKeyRef"]
            assert secret["key"] in SECRETS[secret["name"]]


def test_containers_are_confined_and_sized(objects):
    for pod in pods(objects).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert {"requests", "limits"} <= container["resources"].keys()


def test_probed_routes_exist_and_variables_are_the_configuration_s(objects):
    for name, pod in pods(objects).items():
        container = pod["spec"]["containers"][0]
        if name not in ROUTES:
            continue
        app = (ROOT / "services" / ROUTES[name] / "app.py").read_text()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert f'@app.get("{container[probe]["httpGet"]["path"]}"' in app
        used = set(re.findall(r"\$\{(\w+)\}", " ".join(container["args"])))
        assert {variable["name"] for variable in container["env"]} == used


def test_the_arguments_make_a_configuration(objects, monkeypatch):
    from shared.config import load_config

    monkeypatch.setenv("PERL_REDIS_PASSWORD", "p")
    monkeypatch.setenv("PERL_TOKEN", "t")
    (scaled,) = of(objects, "ScaledObject")
    for name in ROUTES:
        args = pods(objects)[name]["spec"]["containers"][0]["args"]
        config = load_config(ROOT / args[2], args[args.index("--set") + 1 :])
        assert (config.redis.url, config.security.token) == ("redis://:p@redis:6379/0", "t")
        assert scaled["spec"]["triggers"][0]["metadata"]["stream"] == f"perl:{config.run}:prompts"


def test_network_policies_allow_the_arrows_and_no_other(objects):
    names = ("redis", "rollout", "reward", "trainer", "evaluation")
    labels = {name: pods(objects)[name]["metadata"]["labels"] for name in names}
    allowed = {
        direction: _allowed(of(objects, "NetworkPolicy"), labels, direction)
        for direction in ("ingress", "egress")
    }
    both = allowed["ingress"] & {(to, source, port) for source, to, port in allowed["egress"]}
    assert both == {
        ("redis", "rollout", 6379),
        ("redis", "reward", 6379),
        ("redis", "trainer", 6379),
        ("trainer", "rollout", 8000),
    }
    assert len(allowed["ingress"]) == len(allowed["egress"]) == len(both)


def _allowed(policies, labels, direction):
    """(selected pod, its peer, port) of every rule between our own pods."""
    peer_key = "from" if direction == "ingress" else "to"
    return {
        (name, other, port["port"])
        for policy in policies
        for name in labels
        if matches(policy["spec"]["podSelector"], labels[name])
        for rule in policy["spec"].get(direction, [])
        for peer in rule[peer_key]
        if "namespaceSelector" not in peer
        for other in labels
        if matches(peer["podSelector"], labels[other])
        for port in rule["ports"]
    }
