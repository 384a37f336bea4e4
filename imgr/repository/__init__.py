"""The model repository as it lies on disk: its versions, how they move, publication and rollback."""
