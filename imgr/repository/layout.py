"""Where things lie in a model repository, and beside it."""

from pathlib import Path

MODELS = ("sam_encoder", "sam_decoder")
GRAPH = "model.onnx"
CONFIGURATION = "config.pbtxt"
LOADED_VERSIONS = 2  # the models' version_policy


def staging_folder(repository: Path) -> Path:
    """Return where an export prepares a pair: on the same file system, and outside of what Triton polls."""
    repository = repository.absolute()
    return repository.parent / f".{repository.name}.staging"


def withdrawn_folder(repository: Path) -> Path:
    """Return where pairs lie that were taken out, each in a folder named by its number."""
    repository = repository.absolute()
    return repository.parent / f".{repository.name}.withdrawn"


def numbers(folder: Path) -> set[int]:
    """Return the numbers of the version folders in a folder; none if it is not there."""
    if not folder.is_dir():
        return set()
    return {int(child.name) for child in folder.iterdir() if child.name.isdecimal() and child.is_dir()}
