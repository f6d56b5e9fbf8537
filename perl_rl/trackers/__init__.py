"""Trackers: the run in TensorBoard, wandb, MLflow and others (docs/trackers.md).

A tracker runs in a process of its own and follows the run folder. No service knows of it, so
nothing that it does can slow or stop a run.
"""
