"""Triton behind the `Inference` protocol; the only place that knows its client library."""
