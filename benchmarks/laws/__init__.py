"""Every law on the plants it is meant for, beside what others steer with: `python -m benchmarks.laws`."""
