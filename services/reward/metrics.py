"""The Prometheus metrics of the reward service."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from shared.wire.messages import ScoredOrder


class Metrics:
    """The metrics of one node, in its own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.responses = Counter(
            "perl_reward_responses", "Responses scored", ["source"], registry=registry
        )
        self.reward = Summary(
            "perl_reward_total_reward", "Total reward of a response", ["source"], registry=registry
        )
        self.accuracy = Summary(
            "perl_reward_accuracy", "Accuracy of a response", ["source"], registry=registry
        )
        self.format = Summary(
            "perl_reward_format", "Form of a response", ["source"], registry=registry
        )
        self.penalty = Summary(
            "perl_reward_penalty", "What length added to a reward", ["source"], registry=registry
        )
        self.seconds = Histogram(
            "perl_reward_batch_seconds", "Scoring one trajectory batch", registry=registry
        )
        self.expressions = Counter(
            "perl_reward_expressions",
            "Expressions graded in worker processes",
            ["outcome"],
            registry=registry,
        )
        self.judge = Counter(
            "perl_reward_judge",
            "Requests to the judge, replies from its cache, verdicts it failed to give",
            ["outcome"],
            registry=registry,
        )
        self.forwarded = Counter(
            "perl_reward_groups_forwarded", "Groups handed to the trainer", registry=registry
        )
        self.dropped = Counter(
            "perl_reward_groups_dropped", "Groups dropped", ["reason"], registry=registry
        )
        self.discarded = Counter(
            "perl_reward_batches_discarded",
            "Batches of groups that were no longer in flight, or that another node finished",
            registry=registry,
        )
        self.failures = Counter(
            "perl_reward_failures", "Attempts to score a batch that failed", registry=registry
        )
        self.in_work = Gauge("perl_reward_batches_in_work", "Batches taken", registry=registry)
        self.queue = Gauge(
            "perl_reward_queue_length",
            "Entries that wait or are worked on",
            ["queue"],
            registry=registry,
        )

    def scored(self, order: ScoredOrder) -> None:
        """Count one scored batch."""
        source = order.batch.task.source
        self.responses.labels(source).inc(len(order.rewards))
        self.seconds.observe(order.scored_s)
        total, accuracy = self.reward.labels(source), self.accuracy.labels(source)
        form, penalty = self.format.labels(source), self.penalty.labels(source)
        for reward in order.rewards:
            total.observe(reward.total)
            accuracy.observe(reward.accuracy)
            form.observe(reward.format)
            penalty.observe(reward.penalty)
