"""SAM checkpoints → ONNX graphs in a Triton model repository."""
