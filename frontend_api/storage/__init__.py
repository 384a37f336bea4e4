"""The object store: uploads, and the embeddings derived from them."""
