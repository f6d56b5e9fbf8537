"""The compose files start what there is: services, commands, configurations, volumes, variables."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from perl_rl.cli.main import command_line
from perl_rl.launch.division import Resources
from services.rollout.serve import _ENGINE_STOP_S
from shared.config import Config, load_config
from tests.paths import ROOT

SERVICES = ("trainer", "rollout", "reward")
READS_A_RUN = "view"
"""It is told the folder of the run, and no configuration."""
ENGINE_VARIABLES = set(Resources(1, frozenset({0})).engine_environment())
KEYS = {
    *(
        "image",
        "build",
        "command",
        "environment",
        "volumes",
        "depends_on",
        "restart",
        "healthcheck",
    ),
    *("ports", "shm_size", "tmpfs", "read_only", "user", "cap_drop", "cap_add", "security_opt"),
    *("stop_grace_period", "network_mode", "deploy"),
}
"""Of the Compose Specification, those that docker-compose 1.29 knows too."""

Service = dict[str, Any]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def merged(*names: str) -> dict[str, Service]:
    """The services as Compose puts files together: single values replaced, mappings joined, and
    volumes by their place in the container."""
    found: dict[str, Service] = {}
    for name in names:
        for service, content in read(name)["services"].items():
            old = found.get(service, {})
            joined = {**old, **content}
            if "environment" in old and "environment" in content:
                joined["environment"] = {**old["environment"], **content["environment"]}
            places = {
                one.split(":")[1]: one
                for one in (*old.get("volumes", ()), *content.get("volumes", ()))
            }
            joined["volumes"] = list(places.values())
            found[service] = joined
    return found


def filled(text: str, environment: dict[str, str]) -> str:
    """``${NAME:-default}`` as Compose fills it in."""
    return re.sub(
        r"\$\{(\w+):-([^}]*)\}", lambda match: environment.get(match[1]) or match[2], text
    )


@pytest.fixture(params=[("docker-compose.yml",), ("docker-compose.yml", "docker-compose.gpu.yml")])
def services(request: pytest.FixtureRequest) -> dict[str, Service]:
    return merged(*request.param)


def ours(services: dict[str, Service]) -> dict[str, Service]:
    """The services that run this project's command line."""
    return {name: one for name, one in services.items() if one["image"].startswith("perl-rl")}


def test_files_have_no_version_and_no_unknown_key():
    for name in ("docker-compose.yml", "docker-compose.gpu.yml"):
        content = read(name)
        assert {key for key in content if not key.startswith("x-")} <= {"services", "volumes"}
        for service, one in content["services"].items():
            assert one.keys() <= KEYS, service


def test_every_command_parses_and_names_a_configuration(services):
    configurations = set()
    for name, one in ours(services).items():
        options = command_line().parse_args(one["command"])
        assert callable(options.command), name
        if name == READS_A_RUN:
            continue
        assert (ROOT / options.config).is_file()
        configurations.add(options.config)
    assert len(configurations) == 1, "one configuration for all"


def test_every_service_depends_on_one_that_there_is(services):
    conditions = {"service_healthy", "service_completed_successfully"}
    for one in services.values():
        for other, how in one.get("depends_on", {}).items():
            assert how["condition"] in conditions
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
            else:
                assert services[other].get("restart", "no") == "no", "it has to end"


def test_every_named_volume_is_declared(services):
    declared = set(read("docker-compose.yml")["volumes"])
    for one in services.values():
        for volume in one["volumes"]:
            source = volume.split(":")[0]
            assert source.startswith("./") or source in declared


def test_images_are_built_by_targets_of_the_dockerfile(services):
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^FROM .* AS ([\w-]+)$", dockerfile, re.MULTILINE))
    arguments = set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    for name, one in ours(services).items():
        assert one["build"]["target"] in targets
        assert one["build"].get("args", {}).keys() <= arguments
        if name in SERVICES:
            assert one["build"]["target"] == name
    for source in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists()
            assert included(path), f"{path} is not let in by .dockerignore"


def test_the_reward_image_has_pinned_libraries_and_no_torch():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    names = re.search(r"-c requirements/cpu\.lock \\\n(.*?)\n\n", dockerfile, re.DOTALL)[1]
    common = (ROOT / "requirements/common.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0] for line in common.splitlines() if "==" in line}
    assert set(names.replace("\\", " ").replace("'", "").split()) <= pinned
    assert not {"torch", "accelerate"} & set(names.split())


def included(path: str) -> bool:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    wanted = Path(path)
    return any(f"!{one}" in lines for one in (wanted, *wanted.parents))


@pytest.fixture
def loaded(services, monkeypatch) -> dict[str, Config]:
    """By service: the configuration as its process would load it, with secrets set."""
    given = {"PERL_REDIS_PASSWORD": "s3cret", "PERL_TOKEN": "t0ken"}
    found = {}
    for name, one in ours(services).items():
        if name == READS_A_RUN:
            continue
        with monkeypatch.context() as environment:
            for variable, value in one["environment"].items():
                environment.setenv(variable, filled(value, given))
            options = command_line().parse_args(one["command"])
            found[name] = load_config(ROOT / options.config, options.overrides)
    return found


def test_services_find_each_other(services, loaded):
    for config in loaded.values():
        redis = urlsplit(config.redis.url)
        assert (redis.hostname, redis.port, redis.password) == ("redis", 6379, "s3cret")
        assert config.security.token == "t0ken"
        weights = config.weights.port_beside(config.trainer.port)
        assert config.weights.public_url == f"http://trainer:{weights}"
        assert config.rollout.host == config.reward.host == config.trainer.host == "0.0.0.0"
    assert loaded["trainer"].trainer.serve_after_end
    published = services["trainer"]["ports"][0]
    assert published.endswith(f":{loaded['trainer'].trainer.port}")
    assert published.startswith("127.0.0.1:")


def test_health_checks_ask_the_port_that_the_service_has(loaded):
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for service in SERVICES:
        stage = re.search(rf" AS {service}\n(.*?)(?=\nFROM |\Z)", dockerfile, re.DOTALL)[1]
        port = getattr(loaded[service], service).port
        assert f"EXPOSE {port}\n" in stage
        assert f"http://127.0.0.1:{port}/healthz" in stage


def test_every_variable_is_one_that_something_reads(services):
    configurations = " ".join(file.read_text() for file in (ROOT / "configs").glob("*.yaml"))
    read_by_configurations = set(re.findall(r"\$\{(\w+)", configurations))
    for name, one in ours(services).items():
        assert set(one["environment"]) <= read_by_configurations | ENGINE_VARIABLES, name


def test_the_example_of_settings_documents_each_and_no_other():
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = set(re.findall(r"^(\w+)=", text, re.MULTILINE))
    used = set()
    for name in ("docker-compose.yml", "docker-compose.gpu.yml"):
        # A doubled dollar is one for the shell in the container.
        used |= set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / name).read_text(encoding="utf-8")))
    assert documented == used


def test_without_settings_redis_wants_no_password(monkeypatch):
    url = filled(merged("docker-compose.yml")["trainer"]["environment"]["PERL_REDIS_URL"], {})
    monkeypatch.setenv("PERL_REDIS_URL", url)
    assert not urlsplit(load_config(ROOT / "configs/demo.yaml").redis.url).password


def test_services_come_back_and_have_time_to_drain(services, loaded):
    drains = {
        "trainer": loaded["trainer"].trainer.drain_timeout_s,
        "reward": loaded["reward"].reward.drain_timeout_s,
        "rollout": loaded["rollout"].rollout.drain_timeout_s
        + loaded["rollout"].rollout.heartbeat_s
        + _ENGINE_STOP_S,
    }
    for name, drain_s in drains.items():
        assert services[name]["restart"] == "unless-stopped"
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > drain_s
    assert services["redis"]["restart"] == "unless-stopped"


def test_the_pages_are_of_the_run_and_only_read_it(services):
    view, trainer = services["view"], services["trainer"]
    options = command_line().parse_args(view["command"])
    assert [str(run) for run in options.runs] == [
        trainer["command"][trainer["command"].index("--run-dir") + 1]
    ]
    assert view["volumes"] == ["./runs:/app/runs:ro"]
    (published,) = view["ports"]
    assert published.startswith("127.0.0.1:") and published.endswith(f":{options.port}")


def test_rollout_can_be_scaled(services):
    assert "ports" not in services["rollout"]
    assert "--name" not in services["rollout"]["command"]


def test_containers_have_no_privilege(services):
    for name, one in ours(services).items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["tmpfs"][0].startswith("/tmp:exec")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert dockerfile.count("USER 10001:10001") == 2, "reward, and engine with what is made from it"


def test_gpus_are_split_as_the_configuration_says():
    services = merged("docker-compose.yml", "docker-compose.gpu.yml")
    config = load_config(ROOT / "configs/qwen2_5_vl_7b.yaml")
    ids = {}
    for name in ("trainer", "rollout", "rollout-2"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        ids[name] = device["device_ids"]
    assert len(ids["trainer"]) == config.trainer.ranks
    nodes = [ids[name] for name in ids if name.startswith("rollout")]
    assert [len(one) for one in nodes] == [config.rollout.engine.tensor_parallel_size] * (
        config.rollout.nodes
    )
    every = [gpu for one in ids.values() for gpu in one]
    assert len(set(every)) == len(every) == 8
    (device,) = services["report"]["deploy"]["resources"]["reservations"]["devices"]
    assert len(device["device_ids"]) == config.rollout.engine.tensor_parallel_size
    assert set(device["device_ids"]) <= set(ids["trainer"]), "free once the ranks have ended"
