"""The real tritonserver, from its PyPI package or from the PATH."""
