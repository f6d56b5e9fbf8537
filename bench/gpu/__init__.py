"""What a GPU that the project has never run on must prove, in stages of a few minutes at most.

``python -m bench.gpu`` runs them all with random weights at the shapes of Qwen2.5-VL-7B and few
layers, and prints one JSON object a line; ``--cpu`` runs the same code at tiny shapes. It needs
torch, transformers, DeepSpeed, pydantic, msgpack, PyYAML, pyarrow and blake3; no vLLM, no Redis, no
network, no weights.
"""
