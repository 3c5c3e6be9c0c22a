"""Runs every benchmark of this package that measures time, each in a process of its own, and prints one report: `make bench`.

Each benchmark measures its peer in the same run (llama.cpp alone, an empty gRPC method), because absolute numbers say as much about the
machine as about the code.
"""

from __future__ import annotations

import os
import pkgutil
import platform
import subprocess
import sys
from pathlib import Path

import benchmarks
from limbic.runtime.settings import load_settings
from limbic.supervision.ports import taken

EFFECTS = frozenset({"steering", "words"})
"""Those that measure what is said and not how fast: they take long, and are run by themselves."""

BUSY_LOAD = 0.5
"""Above this load average per core something else is computing, and the figures are not ours alone."""


def main() -> int:
    """Run all and return 0, or 1 if one of them failed."""
    print(_machine())
    for warning in _warnings():
        print(f"warning: {warning}")
    failed = []
    names = {module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"}
    for name in sorted(names - EFFECTS):
        print(f"\n== {name.replace('_', ' ')}   (python -m benchmarks.{name})", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}"


def _warnings() -> list[str]:
    found = []
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if load > BUSY_LOAD:
        found.append(f"the machine is busy (load {load:.1f} per core): times will be longer than they need to be")
    if taken(load_settings()):
        found.append("the services are running and share the cores with what is measured; `make down` first")
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", "replace").splitlines() if path.is_file() else []


if __name__ == "__main__":
    sys.exit(main())
