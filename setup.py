"""Puts the wheel of model_service into that of deployd: `deployd new` gives it to the repositories that it makes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_SOURCES = Path(__file__).parent / "model_service"
_BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
_1980 = "315532800"  # the first time that a wheel can hold: the same sources make the same wheel


class WithModelService(build_py):
    """As setuptools' own, and the wheel of model_service beside the templates."""

    def run(self) -> None:
        """Build. An editable installation has the sources of model_service, and needs no wheel."""
        super().run()
        if self.editable_mode:
            return
        with tempfile.TemporaryDirectory() as aside:
            copy = Path(aside) / "model_service"
            shutil.copytree(_SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
            into = (Path(self.build_lib) / "deployd" / "starter").absolute()
            environment = os.environ | {"SOURCE_DATE_EPOCH": _1980}
            subprocess.run([sys.executable, "-c", _BUILD, str(into)], cwd=copy, env=environment, check=True)


setup(cmdclass={"build_py": WithModelService})
