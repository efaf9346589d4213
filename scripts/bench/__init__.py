"""Measures the accept path and the whole path over loopback; the figures go to docs/benchmarks.md."""
