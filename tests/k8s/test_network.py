"""NetworkPolicies let each arrow of ARCHITECTURE.md through, what watches the run, and no other."""

from dataclasses import dataclass, field
from itertools import product

from tests.k8s.manifests import NAME, Build, Manifest, pod, pod_labels, selects

SERVICES = ("trainer", "rollout", "reward")
ARROWS = {
    # Prompts, trajectories, groups, ledger, images and announcements all go through Redis.
    *((service, "redis", 6379) for service in SERVICES),
    # GET /weights/<version>/manifest, /data
    ("rollout", "trainer", 8000),
}
NAMES = {(service, "dns", 53) for service in SERVICES}
HTTP = {"trainer": 8000, "rollout": 8100, "reward": 8200}
METRICS = {("prometheus", service, port) for service, port in HTTP.items()}
BACKLOG = {("keda", "redis", 6379)}
PORTS = (22, 53, 80, 443, 6379, 8000, 8100, 8200)


@dataclass(frozen=True)
class Peer:
    """A pod somewhere, as policies see it."""

    name: str
    labels: dict[str, str]
    namespace: str = "perl"
    named_ports: dict[str, int] = field(default_factory=dict)


OUTSIDE = (
    Peer("dns", {"k8s-app": "kube-dns"}, "kube-system"),
    Peer("keda", {"app": "keda-operator"}, "keda"),
    Peer("prometheus", {NAME: "prometheus"}, "monitoring"),
    # Labels alone are no pass: the namespace counts.
    Peer("impostor", {NAME: "rollout"}, "elsewhere"),
    Peer("stranger", {NAME: "stranger"}),
    Peer("internet", {}, "elsewhere"),
)


def test_each_arrow_is_allowed_and_no_other(build: Build):
    expected = ARROWS | NAMES
    if build.of("ServiceMonitor"):
        expected |= METRICS
    if build.of("ScaledObject"):
        expected |= BACKLOG
    assert allowed(build) == expected


def test_the_policies_alone_decide(builds):
    """Without them all would be open: the test above can fail."""
    build = builds["cpu-demo"]
    rest = [one for one in build.objects if one["kind"] != "NetworkPolicy"]
    assert ("internet", "redis", 6379) in allowed(Build("open", rest))


def allowed(build: Build) -> set[tuple[str, str, int]]:
    """Every connection that the policies let through and that starts or ends in one of our pods."""
    ours = [_peer(one) for one in build.workloads()]
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
    """Whether the policies on `one` let traffic in `direction` through, from or to `other`."""
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
    wanted = (one["port"] for one in rule["ports"])
    return any(
        target.named_ports.get(one) == port if isinstance(one, str) else one == port
        for one in wanted
    )


def _peer(workload: Manifest) -> Peer:
    ports = {
        port["name"]: port["containerPort"]
        for one in pod(workload)["containers"]
        for port in one.get("ports", [])
    }
    return Peer(workload["metadata"]["name"], pod_labels(workload), named_ports=ports)
