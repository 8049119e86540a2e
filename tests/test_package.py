"""What an installed package holds: built as `pip install` builds it, by way of the sdist."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the wheel")
ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tod"


def built(kind: str, source: Path, folder: Path) -> Path:
    """The one archive that hatchling makes of a source tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", folder]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (archive,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(built("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = (path for path in folder.iterdir() if path.is_dir())
    with zipfile.ZipFile(built("wheel", tree, folder)) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize(
    "pattern", ["*.py", "py.typed", "*.yaml", "*.json", "*.jsonl", "*.safetensors", "*.css", "*.js"]
)
def test_the_wheel_holds_every_file_of_the_package(pattern: str, names: set[str]) -> None:
    ours = {f"tod/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob(pattern)}
    assert ours
    assert ours <= names
