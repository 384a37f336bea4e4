"""From a click to candidates: the model in service, embeddings, pixels and the work between them."""
