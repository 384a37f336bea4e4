"""What makes and describes checkpoints."""
