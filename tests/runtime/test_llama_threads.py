"""How llama.cpp's threads wait is settled before the library is loaded."""

import os
import re
import subprocess
import sys


def spins_of_openmp(**environment: str) -> str:
    """Load llama.cpp in a process of its own and return how often OpenMP says that its threads will spin."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    result = subprocess.run(
        [sys.executable, "-c", "import limbic.runtime.llama"],
        env={**inherited, **environment, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"GOMP_SPINCOUNT\s*=\s*'(\w+)'", result.stderr)
    assert found is not None, result.stderr
    return found[1]


def test_threads_soon_sleep_while_they_wait_unless_the_operator_says_otherwise() -> None:
    assert spins_of_openmp() == "1000"
    assert spins_of_openmp(GOMP_SPINCOUNT="20000") == "20000"
