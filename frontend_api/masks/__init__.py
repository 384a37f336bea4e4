"""From SAM's low-resolution logits to soft-edged masks and cut-outs."""
