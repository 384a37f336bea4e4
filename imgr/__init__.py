"""The command line, and the Triton that runs where no container does."""
