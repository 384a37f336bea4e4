"""The way of a click and of an upload: embeddings, pixels and the work between them."""
