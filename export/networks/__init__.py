"""The networks that are exported: SAM and the image encoders it comes with, in the form that ONNX gets."""
