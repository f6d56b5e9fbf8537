"""NetworkPolicies allow what ARCHITECTURE.md shows and what monitors the run, and nothing else."""

from dataclasses import dataclass, field
from itertools import product

from tests.k8s.manifests import NAME, NUMBER, Build, Manifest, pod, pods, selects

SERVICES = ("trainer", "rollout", "reward")
ARROWS = {
    # Prompts, trajectories, groups, ledger, images and announcements all go through Redis.
    *((service, "redis", 6379) for service in SERVICES),
    # GET /weights/<version>/manifest, /data, /delta
    ("rollout", "trainer", 8010),
}
NAMES = {(service, "dns", 53) for service in SERVICES}
# Ledger and nodes of a run that goes on; its pages themselves are reached by a port-forward.
VIEW = {("view", "redis", 6379), ("view", "dns", 53)}
HTTP = {"trainer": 8000, "rollout": 8100, "reward": 8200}
METRICS = {("prometheus", service, port) for service, port in HTTP.items()}
BACKLOG = {("keda", "redis", 6379)}
RENDEZVOUS, RANKS = 29400, (32768, 60999)
PORTS = (
    22,
    53,
    80,
    443,
    6379,
    8000,
    8010,
    8100,
    8200,
    RENDEZVOUS,
    RANKS[0] - 1,
    *RANKS,
    RANKS[1] + 1,
)
SEVERAL_HOSTS = {
    # A worker host reads the run's state from Redis, and its ranks read their groups.
    ("trainer-1", "redis", 6379),
    ("trainer-1", "dns", 53),
    ("trainer-1", "trainer", RENDEZVOUS),
    *(("trainer", "trainer-1", port) for port in RANKS),
    *(("trainer-1", "trainer", port) for port in RANKS),
}


@dataclass(frozen=True)
class Peer:
    """A pod as policies see it."""

    name: str
    labels: dict[str, str]
    namespace: str = "perl"
    named_ports: dict[str, int] = field(default_factory=dict)


OUTSIDE = (
    Peer("dns", {"k8s-app": "kube-dns"}, "kube-system"),
    Peer("keda", {"app": "keda-operator"}, "keda"),
    Peer("prometheus", {NAME: "prometheus"}, "monitoring"),
    # The right labels in the wrong namespace must not be enough.
    Peer("impostor", {NAME: "rollout"}, "elsewhere"),
    Peer("stranger", {NAME: "stranger"}),
    Peer("internet", {}, "elsewhere"),
)


def test_each_arrow_is_allowed_and_no_other(build: Build):
    expected = ARROWS | NAMES | VIEW
    if build.of("ServiceMonitor"):
        expected |= METRICS
    if build.of("ScaledObject"):
        expected |= BACKLOG
    if build.overlay == "gpu-multinode":
        expected |= SEVERAL_HOSTS | {("prometheus", "trainer-1", HTTP["trainer"])}
    assert allowed(build) == expected


def test_the_ranks_ports_are_those_that_the_pods_kernel_gives(builds):
    build = builds["gpu-multinode"]
    trainer = build.workload("trainer")
    (setting,) = pod(trainer)["securityContext"]["sysctls"]
    assert setting == {
        "name": "net.ipv4.ip_local_port_range",
        "value": f"{RANKS[0]} {RANKS[1]}",
    }
    assert [labels[NUMBER] for labels in pods(trainer)] == ["0", "1"]


def test_the_policies_alone_decide(builds):
    """Without the policies everything would be open, so the test above can fail."""
    build = builds["cpu-demo"]
    rest = [one for one in build.objects if one["kind"] != "NetworkPolicy"]
    assert ("internet", "redis", 6379) in allowed(Build("open", rest))


def allowed(build: Build) -> set[tuple[str, str, int]]:
    """Every connection that the policies allow and that starts or ends in one of our pods."""
    ours = [peer for one in build.workloads() for peer in _peers(one)]
    found = set()
    for source, target, port in product((*ours, *OUTSIDE), (*ours, *OUTSIDE), PORTS):
        if source is target or (source in OUTSIDE and target in OUTSIDE):
            continue
        if _passes(build, "Egress", source, target, port) and _passes(
            build, "Ingress", target, source, port
        ):
            found.add((source.name, target.name, port))
    return found


def _passes(build: Build, direction: str, one: Peer, other: Peer, port: int) -> bool:
    """Whether the policies on `one` allow traffic in `direction`, from or to `other`."""
    about = [
        policy["spec"]
        for policy in build.of("NetworkPolicy")
        if policy["metadata"]["namespace"] == one.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], one.labels)
    ]
    if not about:
        return True
    target = one if direction == "Ingress" else other
    key, side = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        _names(rule, side, other) and _opens(rule, target, port)
        for policy in about
        for rule in policy.get(key, [])
    )


def _names(rule: Manifest, side: str, other: Peer) -> bool:
    if side not in rule:
        return True
    for peer in rule[side]:
        assert peer.keys() <= {"podSelector", "namespaceSelector"}, "the only kinds used here"
        home = {"kubernetes.io/metadata.name": other.namespace}
        inside = (
            selects(peer["namespaceSelector"], home)
            if "namespaceSelector" in peer
            else other.namespace == "perl"
        )
        if inside and selects(peer.get("podSelector", {}), other.labels):
            return True
    return False


def _opens(rule: Manifest, target: Peer, port: int) -> bool:
    if "ports" not in rule:
        return True
    for one in rule["ports"]:
        first = one["port"]
        if isinstance(first, str):
            first = target.named_ports.get(first, -1)
        if first <= port <= one.get("endPort", first):
            return True
    return False


def _peers(workload: Manifest) -> list[Peer]:
    ports = {
        port["name"]: port["containerPort"]
        for one in pod(workload)["containers"]
        for port in one.get("ports", [])
    }
    name = workload["metadata"]["name"]
    return [
        Peer(f"{name}-{number}" if number else name, labels, named_ports=ports)
        for number, labels in enumerate(pods(workload))
    ]
