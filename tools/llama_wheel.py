"""Compiles llama-cpp-python once for this processor and keeps the wheel. Standard library only.

The package is published as source. Compiled here it uses every instruction that this processor has, so the kept wheel must never reach
another one: it would end the process with an illegal instruction. Hence the key of the cache.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from tools.progress import StepError, run_logged

PACKAGE = "llama-cpp-python"
CMAKE_ARGS = "-DLLAVA_BUILD=OFF"
"""Without the image encoders, which take a third of the compile and which nothing here uses."""

AMX_HEADER = Path(__file__).with_name("amx_tile_config.h")
"""What llama.cpp's AMX kernels need in order not to fault; the file says why. They take two thirds of the processor time of its AVX-512
kernels for an utterance."""

_STEP = re.compile(r"\[\s*(\d+)/(\d+)\]")
_PERCENT = re.compile(r"\[\s*(\d+)%\]")


def cache_folder() -> Path:
    """Return where wheels are kept, outside of any checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limbic" / "wheels"


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's instruction sets as Linux lists them, sorted; elsewhere whatever Python knows of it."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return " ".join(sorted(value.split()))
    return platform.processor()


def compiler_flags(instructions: str) -> str:
    """Return what the C++ compiler is told beside what CMake tells it, for a processor with these instruction sets."""
    return f"-include {shlex.quote(str(AMX_HEADER))}" if "amx_tile" in instructions.split() else ""


def cache_key(version: str, cmake_args: str, instructions: str) -> str:
    """Return the name under which a wheel is kept: everything that its content depends on."""
    # The header's content and not its place: checkouts share a cache.
    header = AMX_HEADER.read_text("utf-8") if compiler_flags(instructions) else ""
    content = "\n".join((platform.machine(), instructions, cmake_args, header))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{PACKAGE}-{version}-{sys.implementation.cache_tag}-{digest}"


def required_version(requirements: Path) -> str:
    """Read the pinned version out of requirements/native.txt."""
    found = re.search(rf"^{re.escape(PACKAGE)}==(\S+)", requirements.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise StepError(f"{requirements} does not pin {PACKAGE}")
    return found[1]


def describe_build(line: str) -> str | None:
    """Turn a line of the build's output into progress: `[37/140] …` of ninja, `[ 26%] …` of make."""
    if step := _STEP.match(line.strip()):
        return f"[{step[1]}/{step[2]}] compiled"
    if percent := _PERCENT.match(line.strip()):
        return f"[{percent[1]} %] compiled"
    return None


def kept_wheel(folder: Path) -> Path | None:
    """Return the wheel in a folder of the cache, if there is one."""
    wheels = sorted(folder.glob("*.whl"))
    return wheels[0] if wheels else None


def llama_wheel(python: Path, requirements: Path, log: Path) -> Path:
    """Return the wheel for this processor, compiled now if it is not kept already (about four minutes on two cores).

    Raises:
        StepError: there is no compiler, or the build failed.
    """
    cmake_args = os.environ.get("CMAKE_ARGS", CMAKE_ARGS)
    version = required_version(requirements)
    instructions = instruction_sets()
    folder = cache_folder() / cache_key(version, cmake_args, instructions)
    if wheel := kept_wheel(folder):
        return wheel
    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        raise StepError(
            f"{PACKAGE} is compiled from source and there is no C++ compiler: `sudo apt-get install build-essential cmake`"
        )
    environment = {**os.environ, "CMAKE_ARGS": cmake_args}
    environment["CXXFLAGS"] = f"{environment.get('CXXFLAGS', '')} {compiler_flags(instructions)}".strip()
    # With it set, llama.cpp builds for the oldest processor of the family, several times slower.
    environment.pop("SOURCE_DATE_EPOCH", None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as building:
        # pip's own cache of built wheels knows nothing of processors.
        command = [str(python), "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-cache-dir", "--require-hashes"]
        command += ["--no-binary", PACKAGE, "--requirement", str(requirements), "--wheel-dir", building]
        what = f"compiling {PACKAGE} {version} for this processor (once; some minutes; log: {log})"
        run_logged(what, command, log, describe=describe_build, environment=environment)
        built = kept_wheel(Path(building))
        if built is None:
            raise StepError(f"the build of {PACKAGE} left no wheel; see {log}")
        folder.mkdir(exist_ok=True)
        # A rename within one file system: nobody ever sees half a wheel.
        return built.replace(folder / built.name)


def main(arguments: list[str]) -> int:
    """Compile and keep the wheel that REQUIREMENTS pins, for this interpreter; print where it is. Returns the exit status."""
    if len(arguments) != 1:
        print(__doc__, "Usage: python -m tools.llama_wheel REQUIREMENTS", file=sys.stderr)
        return 2
    try:
        print(llama_wheel(Path(sys.executable), Path(arguments[0]), Path("build/logs/llama-cpp-python.log")))
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
