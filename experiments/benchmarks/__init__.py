"""Benchmarks: what a step, a response and a server cost."""
