"""Benchmarks: one set of workloads, an adapter for each engine, ratios to raw SQLite. README.md has the commands."""
