"""Measures what a run achieved and writes it down: statistics, plots, report."""
