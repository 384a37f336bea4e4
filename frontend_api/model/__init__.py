"""Which model is in service: versions as Triton shows them, the newest consistent pair, and its successor."""
