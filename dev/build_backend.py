"""Build the addon's package with whool, for `pip install .`.

whool takes the folder's name for the addon's and packs every file in it. So it is given a copy with the
right name, without `dev/` and the tests, which need `dev/`.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from whool import buildapi

ADDON = "g2p_payment_simple_mpesa"
ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"build", "dev", "dist", "tests", "__pycache__"}


def source_files():
    """Return the paths, from the root, of what is packed: files under git's care, or all without git."""
    try:
        listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
        paths = [Path(name) for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
    return [path for path in paths if is_packed(path) and (ROOT / path).is_file()]


def is_packed(path):
    """Tell whether a path, from the root, belongs to the addon as it is installed."""
    top = path.parts[0]
    return not (top.startswith(".") or top in LEFT_OUT or top.endswith(".egg-info") or path.suffix == ".pyc")


@contextlib.contextmanager
def addon_copy():
    """Be in a copy of the addon that whool can build."""
    with tempfile.TemporaryDirectory() as folder:
        addon = Path(folder, ADDON)
        for path in source_files():
            (addon / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, addon / path)
        # A source package holds no dev/, so it is built by whool alone.
        settings = (addon / "pyproject.toml").read_text()
        settings = settings.replace('"build_backend"', '"whool.buildapi"')
        settings = settings.replace('backend-path = ["dev"]\n', "")
        (addon / "pyproject.toml").write_text(settings)
        before = os.getcwd()
        os.chdir(addon)
        try:
            yield
        finally:
            os.chdir(before)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """PEP 517: write the metadata only."""
    with addon_copy():
        return buildapi.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 517: build the package."""
    with addon_copy():
        return buildapi.build_wheel(wheel_directory, config_settings)


def build_sdist(sdist_directory, config_settings=None):
    """PEP 517: build the source package."""
    with addon_copy():
        return buildapi.build_sdist(Path(sdist_directory), config_settings)
