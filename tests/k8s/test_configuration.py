"""The pods run the shipped configurations, as the services read them, without other settings."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from perl_rl.cli.main import command_line
from perl_rl.launch.division import Resources
from services.rollout.serve import _ENGINE_STOP_S
from shared.config import Config, load_config
from shared.wire.keys import Keys
from shared.wire.queues import CONSUMER_GROUP
from tests.k8s.manifests import NUMBER, Build, Manifest, containers, pod, pods
from tests.paths import ROOT

SERVICES = ("trainer", "rollout", "reward")
SECRET = "s3cret"
ENGINE_VARIABLES = set(
    Resources(1, frozenset({0}), gpus=("0",)).engine_environment()  # as the launcher sets them
)


@pytest.fixture
def configs(build: Build, tmp_path: Path) -> Path:
    """The ConfigMap as a folder, as the pods mount it."""
    (found,) = (
        one for one in build.of("ConfigMap") if one["metadata"]["name"].startswith("perl-configs")
    )
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, text in found["data"].items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def loaded(build: Build, configs: Path, monkeypatch) -> dict[str, Config]:
    """For each service, the configuration as its process would load it."""
    found = {}
    for service in SERVICES:
        container = pod(build.workload(service))["containers"][0]
        with monkeypatch.context() as environment:
            for name, value in variables(container).items():
                environment.setenv(name, value)
            options = command_line().parse_args(arguments(container))
            file = configs / options.config.name
            found[service] = load_config(file, options.overrides)
    return found


def test_the_files_are_those_of_the_repository(configs):
    for file in configs.iterdir():
        assert file.read_bytes() == (ROOT / "configs" / file.name).read_bytes()


def test_every_command_is_one_of_the_command_line(build: Build):
    for workload in build.workloads():
        for container in containers(workload):
            if not container["image"].startswith("redis:"):
                assert "command" not in container, "the image's own entry point"
                for number in range(len(pods(workload))):
                    options = command_line().parse_args(arguments(container, number))
                    assert callable(options.command)


def test_a_services_pods_mount_the_configuration_it_is_told_to_read(build: Build, configs):
    for service in SERVICES:
        for container in containers(build.workload(service)):
            (file,) = (one for one in arguments(container) if one.endswith(".yaml"))
            assert (configs.parent / file).is_file()
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            # Paths in the file are relative to this folder, so ../runs is /app/runs.
            assert mounts["configs"] == "/app/configs"


def test_all_services_read_one_configuration(build: Build, loaded):
    assert len({config.run for config in loaded.values()}) == 1
    trainer = build.workload("trainer")
    files = {one for c in containers(trainer) for one in arguments(c) if one.endswith(".yaml")}
    assert len(files) == 1, "the check reads what the trainer reads"


def test_services_listen_and_find_each_other(build: Build, loaded):
    for service, config in loaded.items():
        redis = urlsplit(config.redis.url)
        assert (redis.hostname, redis.port) == ("redis", port(build, "redis"))
        assert redis.password == SECRET
        assert config.security.token == SECRET
        listening = getattr(config, service)
        assert (listening.host, listening.port) == ("0.0.0.0", port(build, service))
    trainer = loaded["trainer"].trainer
    weights = loaded["trainer"].weights
    container = pod(build.workload("trainer"))["containers"][0]
    open_ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    served = open_ports["weights"]
    assert weights.port_beside(trainer.port) == served
    assert weights.public_url == f"http://trainer-0.trainer:{served}"
    assert trainer.serve_after_end


def test_the_trainers_pods_are_the_hosts_of_the_configuration(build: Build, loaded):
    trainer, workload = loaded["trainer"].trainer, build.workload("trainer")
    assert len(pods(workload)) == trainer.hosts
    container = pod(workload)["containers"][0]
    hosts = [command_line().parse_args(arguments(container, n)).host for n in range(trainer.hosts)]
    assert hosts == list(range(trainer.hosts))
    if trainer.hosts > 1:
        (opened,) = (one for one in container["ports"] if one["name"] == "rendezvous")
        assert trainer.rendezvous == f"trainer-0.trainer:{opened['containerPort']}"


def test_every_variable_is_one_that_something_reads(build: Build, configs):
    read = {name for file in configs.iterdir() for name in expanded(file.read_text())}
    for workload in build.workloads():
        for container in containers(workload):
            if container["image"].startswith("redis:"):
                continue
            given = container.get("env", [])
            texts = [*container["args"], *(one.get("value", "") for one in given)]
            used = {name for text in texts for name in re.findall(r"\$\((\w+)\)", text)}
            names = [one["name"] for one in given]
            assert len(names) == len(set(names))
            assert set(names) <= read | used | ENGINE_VARIABLES, workload["metadata"]["name"]
            assert used <= set(names)


def test_the_evaluation_has_the_engine_of_the_run_on_its_own_gpus(build: Build, loaded):
    (container,) = containers(build.workload("evaluate"))
    options = command_line().parse_args(arguments(container))
    if build.overlay == "cpu-demo":
        assert options.config is None
        return
    assert load_config(ROOT / options.config) == load_config(ROOT / _file(build))
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert options.overrides == [f"rollout.engine.tensor_parallel_size={gpus}"]


def _file(build: Build) -> str:
    (file,) = (
        one for one in arguments(containers(build.workload("rollout"))[0]) if one.endswith(".yaml")
    )
    return file


def test_pods_have_the_gpus_that_the_configuration_uses(build: Build, loaded):
    gpus = {
        service: pod(build.workload(service))["containers"][0]["resources"]["limits"].get(
            "nvidia.com/gpu"
        )
        for service in ("trainer", "rollout")
    }
    if build.overlay == "cpu-demo":
        assert gpus == {"trainer": None, "rollout": None}
        return
    config = loaded["trainer"]
    assert gpus == {
        "trainer": str(config.trainer.ranks),
        "rollout": str(config.rollout.engine.tensor_parallel_size),
    }
    for name in ("trainer", "rollout", "evaluate"):
        found = pod(build.workload(name))
        assert found["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
        assert found["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_pods_have_the_time_that_a_drain_takes(build: Build, loaded):
    rollout, reward, trainer = (loaded[kind] for kind in ("rollout", "reward", "trainer"))
    drains = {
        "rollout": rollout.rollout.drain_timeout_s + rollout.rollout.heartbeat_s + _ENGINE_STOP_S,
        "reward": reward.reward.drain_timeout_s,
        "trainer": trainer.trainer.drain_timeout_s,
    }
    for service, drain_s in drains.items():
        found = pod(build.workload(service))
        before = found["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert before[0] == "sleep"
        assert found["terminationGracePeriodSeconds"] > int(before[1]) + drain_s


def test_rollout_nodes_are_scaled_on_the_stream_that_they_read(build: Build, loaded):
    config = loaded["rollout"]
    for one in build.of("ScaledObject"):
        metadata = one["spec"]["triggers"][0]["metadata"]
        assert metadata["stream"] == Keys(config.run).prompts
        assert metadata["consumerGroup"] == CONSUMER_GROUP
        assert metadata["streamLength"] == str(config.rollout.concurrent_tasks)
        assert metadata["address"] == f"redis.perl.svc.cluster.local:{port(build, 'redis')}"
    for one in build.of("HorizontalPodAutoscaler"):
        if one["metadata"]["name"] == "rollout":
            target = one["spec"]["metrics"][0]["external"]["target"]
            assert target["averageValue"] == str(config.rollout.concurrent_tasks)


def test_pods_want_no_privilege(build: Build):
    for workload in build.workloads():
        context = pod(workload)["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod(workload)["automountServiceAccountToken"] is False
        for container in containers(workload):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {one["mountPath"] for one in container["volumeMounts"]}
            assert "/tmp" in mounts
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert re.search(r":[\w.-]+$", container["image"]), "a tag"


def test_no_secret_is_committed():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/.env", "/k8s/base/secrets.env"} <= set(ignored)
    example = (ROOT / "k8s/base/secrets.env.example").read_text(encoding="utf-8")
    assert all(
        "replace-me" in line for line in example.splitlines() if line and not line.startswith("#")
    )


def variables(container: Manifest, number: int = 0) -> dict[str, str]:
    """The environment that the kubelet gives a pod; every secret is `SECRET`."""
    found: dict[str, str] = {}
    for one in container.get("env", []):
        value = one["value"] if "value" in one else _looked_up(one["valueFrom"], number)
        # Kubernetes expands only variables that come earlier in the list.
        found[one["name"]] = re.sub(r"\$\((\w+)\)", lambda m: found.get(m[1], m[0]), value)
    return found


def _looked_up(source: Manifest, number: int) -> str:
    if "secretKeyRef" in source:
        return SECRET
    return {
        "metadata.name": f"pod-{number}",
        f"metadata.labels['{NUMBER}']": str(number),
    }[source["fieldRef"]["fieldPath"]]


def arguments(container: Manifest, number: int = 0) -> list[str]:
    """The command line of the pod with that number, with variables filled in."""
    known = variables(container, number)
    return [re.sub(r"\$\((\w+)\)", lambda m: known[m[1]], one) for one in container["args"]]


def expanded(text: str) -> set[str]:
    """The environment variables that a configuration uses."""
    return set(re.findall(r"\$\{(\w+)", text))


def port(build: Build, service: str) -> int:
    (found,) = (one for one in build.of("Service") if one["metadata"]["name"] == service)
    number: int = found["spec"]["ports"][0]["port"]
    return number
