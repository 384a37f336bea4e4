import subprocess
import sys

import pytest

from export import ExportJob
from export.errors import UnusableCheckpoint
from imgr.repository.publication import find_published, publish


def test_an_export_is_published_and_found_again(exported):
    assert exported.publication.version == 1
    assert exported.publication.identity.startswith("vit_64x4/fp32/")
    assert find_published(exported.checkpoint, exported.repository) == exported.publication


def test_progress_only_ever_moves_forward(exported):
    fractions = [fraction for _, fraction in exported.steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(step for step, _ in exported.steps)


def test_a_refused_checkpoint_leaves_no_trace_of_a_repository(tmp_path):
    with pytest.raises(UnusableCheckpoint):
        publish(ExportJob(tmp_path / "absent.pth"), tmp_path / "models")
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_importable_without_pytorch():
    code = "import sys, export, export.metadata; sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
