"""What the control plane costs: `python -m bench.control`."""
