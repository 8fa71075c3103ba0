"""The package as a wheel, in an environment of its own that borrows the packages it depends on."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "litgo_pipelines"


def built(folder: Path) -> Path:
    """The wheel, made from a copy below `folder`: a build leaves files beside what it builds."""
    copy = folder / "source"
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
    build = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(copy)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *build], check=True)
    (wheel,) = (folder / "dist").iterdir()
    return wheel


def installed(wheel: Path, environment: Path) -> Path:
    """Its interpreter in a new environment. Nothing of the checkout is seen there: of the borrowed packages' folder no
    `.pth` file is read, and one of those is what leads to the checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = environment / "bin" / "python"
    install = ["--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *install], check=True)
    return python
