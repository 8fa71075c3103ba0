"""The package as a wheel, in an environment of its own that borrows the packages it depends on.

    python -m benchmarks.wheel /usr/bin/python3.12 /usr/bin/python3.13

builds it and tries it under other interpreters, each in a new environment with the locked packages: its version, an
embedded database migrated, the definitions loaded. Prints what each took; ends with 1 if one failed.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "litgo_pipelines"
LOCK = ROOT / "requirements.lock"
SMOKE = (
    ("litgo", "--version"),
    ("litgo", "exec", "--", "python", "-m", "dagster", "definitions", "validate", "-m", "litgo_pipelines.definitions"),
)


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


def tried(wheel: Path, interpreter: str, folder: Path) -> bool:
    """Whether it works in a new environment of another interpreter. `folder`: empty, open to the embedded server."""
    python, place = folder / "venv" / "bin" / "python", folder / "empty"
    place.mkdir()
    environment = {"HOME": str(folder), "PATH": f"{python.parent}:{os.defpath}", "LANG": "C.UTF-8"}
    pip = (str(python), "-m", "pip", "install", "--quiet", "--no-deps")
    began = time.monotonic()
    for command, given in (
        ((interpreter, "-m", "venv", str(folder / "venv")), None),
        ((*pip, "--require-hashes", "--requirement", str(LOCK)), None),
        ((*pip, str(wheel)), None),
        *((command, environment) for command in SMOKE),
    ):
        path = shutil.which(command[0], path=(given or os.environ)["PATH"]) or command[0]
        done = subprocess.run([path, *command[1:]], cwd=place, env=given, capture_output=True, text=True, check=False)
        if done.returncode:
            print(
                f"{interpreter}: {' '.join(command)} ended with {done.returncode}\n{(done.stdout + done.stderr)[-999:]}"
            )
            return False
    version = subprocess.run([str(python), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}: {time.monotonic() - began:.0f} s")
    return True


def main() -> int:
    if not sys.argv[1:]:
        print(__doc__)
        return 2
    good = []
    with tempfile.TemporaryDirectory(prefix="litgo-wheel-") as name:
        Path(name).chmod(0o755)
        wheel = built(Path(name))
        for number, interpreter in enumerate(sys.argv[1:]):
            folder = Path(name) / str(number)
            folder.mkdir(mode=0o755)
            good.append(tried(wheel, interpreter, folder))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
