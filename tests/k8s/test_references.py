"""Everything that one object names exists: pods, ports, files, volumes, routes."""

import ast
from pathlib import Path

from services.reward.app import create_app
from services.reward.metrics import Metrics
from shared.config import RewardConfig
from shared.config.connections import SecurityConfig
from tests.k8s.manifests import NAME, Build, Manifest, containers, pod, pod_labels, pods, selects
from tests.paths import ROOT


def test_every_workload_selects_its_own_pods_and_no_others(build: Build):
    for one in build.of("Deployment", "StatefulSet"):
        matched = [
            other["metadata"]["name"]
            for other in build.workloads()
            if selects(one["spec"]["selector"], pod_labels(other))
        ]
        assert matched == [one["metadata"]["name"]]


def test_everything_is_in_one_namespace(build: Build):
    assert build.names("Namespace") == {"perl"}
    for one in build.objects:
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "perl", one


def test_every_service_leads_to_a_port_of_its_pods(build: Build):
    for service in build.of("Service"):
        behind = _behind({"matchLabels": service["spec"]["selector"]}, build)
        assert [one["metadata"]["name"] for one in behind] == [service["metadata"]["name"]]
        for port in service["spec"]["ports"]:
            (target,) = (one for one in _ports(behind[0]) if one["name"] == port["targetPort"])
            assert target["containerPort"] == port["port"]


def test_every_stateful_set_has_its_headless_service(build: Build):
    for one in build.of("StatefulSet"):
        (service,) = (
            other
            for other in build.of("Service")
            if other["metadata"]["name"] == one["spec"]["serviceName"]
        )
        assert service["spec"]["clusterIP"] == "None"


def test_budgets_and_policies_select_existing_pods(build: Build):
    for one in build.of("PodDisruptionBudget"):
        assert _behind(one["spec"]["selector"], build), one["metadata"]["name"]
    for one in build.of("NetworkPolicy"):
        assert _behind(one["spec"]["podSelector"], build), one["metadata"]["name"]


def test_autoscalers_scale_deployments_without_replicas(build: Build):
    scaled = [
        one["spec"]["scaleTargetRef"] for one in build.of("HorizontalPodAutoscaler", "ScaledObject")
    ]
    assert len({target["name"] for target in scaled}) == len(scaled), "one autoscaler each"
    for target in scaled:
        assert target["kind"] == "Deployment"
        assert "replicas" not in build.workload(target["name"])["spec"]


def test_rollout_nodes_are_scaled_where_there_are_gpus(builds):
    assert builds["gpu"].names("ScaledObject") == {"rollout"}
    assert builds["gpu-hpa"].names("ScaledObject") == set()
    assert builds["gpu-hpa"].names("HorizontalPodAutoscaler") == {"reward", "rollout"}


def test_monitors_find_services_and_their_ports(build: Build):
    for monitor in build.of("ServiceMonitor"):
        found = [
            one
            for one in build.of("Service")
            if selects(monitor["spec"]["selector"], one["metadata"]["labels"])
        ]
        assert {one["metadata"]["name"] for one in found} == {"trainer", "rollout", "reward"}
        for endpoint in monitor["spec"]["endpoints"]:
            for service in found:
                assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
                assert endpoint["path"] in routes(service["metadata"]["name"])


def test_every_volume_exists_and_is_mounted(build: Build):
    for workload in build.workloads():
        claims = workload["spec"].get("volumeClaimTemplates", [])
        volumes = pod(workload).get("volumes", [])
        named = {one["name"] for one in volumes} | {one["metadata"]["name"] for one in claims}
        mounted = {m["name"] for one in containers(workload) for m in one.get("volumeMounts", [])}
        assert mounted == named, workload["metadata"]["name"]
        for volume in volumes:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in build.names("ConfigMap")
            elif "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert claim in build.names("PersistentVolumeClaim")
            else:
                assert "emptyDir" in volume


def test_volumes_of_several_pods_may_be_mounted_by_several(build: Build):
    modes = {
        one["metadata"]["name"]: one["spec"]["accessModes"]
        for one in build.of("PersistentVolumeClaim")
    }
    for workload in build.of("Deployment", "StatefulSet"):
        if workload["kind"] == "StatefulSet" and len(pods(workload)) == 1:
            continue
        if workload["metadata"]["name"] == "view":
            _check_beside_the_trainer(workload)
            continue
        for volume in pod(workload)["volumes"]:
            if "persistentVolumeClaim" in volume:
                name = volume["persistentVolumeClaim"]["claimName"]
                assert modes[name] == ["ReadWriteMany"], name


def _check_beside_the_trainer(view: Manifest) -> None:
    """One pod, on the trainer's cluster node, that only reads the volume."""
    assert view["spec"]["replicas"] == 1
    assert view["spec"]["strategy"] == {"type": "Recreate"}
    rules = pod(view)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [rule["labelSelector"]["matchLabels"] for rule in rules] == [{NAME: "trainer"}]
    (runs,) = (one for one in pod(view)["volumes"] if one["name"] == "runs")
    assert runs["persistentVolumeClaim"]["readOnly"]
    (mount,) = (one for one in containers(view)[0]["volumeMounts"] if one["name"] == "runs")
    assert mount["readOnly"]


def test_several_trainer_pods_start_together(builds):
    trainer = builds["gpu-multinode"].workload("trainer")
    assert len(pods(trainer)) == 2
    assert trainer["spec"]["podManagementPolicy"] == "Parallel"
    assert "ReadWriteMany" in str(builds["gpu-multinode"].of("PersistentVolumeClaim"))


def test_every_secret_that_is_named_has_the_key(build: Build):
    (secret,) = build.of("Secret")
    named = list(_secret_references(build))
    assert len(named) >= 8
    for name, key in named:
        assert name == secret["metadata"]["name"]
        assert key in secret["data"]


def test_every_probe_asks_an_existing_route(build: Build):
    asked = 0
    for workload in build.workloads():
        for container in containers(workload):
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                get = container.get(kind, {}).get("httpGet")
                if get is None:
                    continue
                asked += 1
                assert get["path"] in routes(pod_labels(workload)[NAME])
                assert get["port"] in {port["name"] for port in container["ports"]}
    assert asked == 12, "three probes of three services, and of the pages"


def test_routes_are_read_as_the_app_has_them():
    app = create_app(RewardConfig(), SecurityConfig(), None, Metrics(), ready=lambda: True)
    paths = {getattr(route, "path", None) for route in app.routes}
    assert {"/healthz", "/readyz", "/score", "/metrics"} == routes("reward")
    assert routes("reward") <= paths


# The route that each function of `shared.service.app` adds.
SHARED_ROUTES = {"service_app": "/healthz", "metrics_route": "/metrics"}


def routes(service: str) -> set[str]:
    """The paths that all pods of a service have: a trainer's worker host has its own app."""
    if service == "view":
        return _routes(ROOT / "perl_rl" / "view" / "app.py")
    apps = ["control/app.py", "hosts/app.py"] if service == "trainer" else ["app.py"]
    return set.intersection(*(_routes(ROOT / "services" / service / app) for app in apps))


def _routes(app: Path) -> set[str]:
    """The paths of an app, read from its source, because importing the rollout app loads vLLM."""
    found = set()
    for node in ast.walk(ast.parse(app.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in SHARED_ROUTES:
            found.add(SHARED_ROUTES[node.func.id])
        elif isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "post"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and str(first.value).startswith("/"):
                found.add(str(first.value))
    return found


def _behind(selector: Manifest, build: Build) -> list[Manifest]:
    return [
        one for one in build.workloads() if any(selects(selector, labels) for labels in pods(one))
    ]


def _ports(workload: Manifest) -> list[Manifest]:
    return [port for one in pod(workload)["containers"] for port in one.get("ports", [])]


def _secret_references(build: Build):
    for workload in build.workloads():
        for container in containers(workload):
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    yield reference["name"], reference["key"]
    for one in build.of("TriggerAuthentication"):
        for reference in one["spec"]["secretTargetRef"]:
            yield reference["name"], reference["key"]
    for one in build.of("ServiceMonitor"):
        for endpoint in one["spec"]["endpoints"]:
            credentials = endpoint["authorization"]["credentials"]
            yield credentials["name"], credentials["key"]
