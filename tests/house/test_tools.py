from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.environment import describe_pip
from tools.generated import ROOT
from tools.llama_wheel import CMAKE_ARGS, cache_key, compiler_flags, describe_build, instruction_sets, llama_wheel
from tools.progress import StepError, elapsed, run_logged


def test_the_key_of_a_wheel_changes_with_all_that_its_content_depends_on() -> None:
    keys = {
        cache_key("0.3.36", CMAKE_ARGS, "avx avx2"),
        cache_key("0.3.37", CMAKE_ARGS, "avx avx2"),
        cache_key("0.3.36", "-DGGML_NATIVE=OFF", "avx avx2"),
        cache_key("0.3.36", CMAKE_ARGS, "avx"),
    }

    assert len(keys) == 4


def test_the_amx_kernels_are_mended_where_the_processor_has_them() -> None:
    assert compiler_flags("avx2 amx_bf16 amx_int8 amx_tile") == f"-include {ROOT / 'tools' / 'amx_tile_config.h'}"
    assert compiler_flags("avx2 avx512f") == ""


def test_instruction_sets_do_not_depend_on_their_order(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("processor : 0\nflags\t\t: fpu avx2 avx\nbugs : none\n")
    other.write_text("processor : 0\nflags\t\t: avx avx2 fpu\n")

    assert instruction_sets(one) == instruction_sets(other) == "avx avx2 fpu"


def test_a_kept_wheel_is_used_without_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    requirements = tmp_path / "native.txt"
    requirements.write_text("llama-cpp-python==1.2.3 --hash=sha256:0\n")
    folder = tmp_path / "limbic" / "wheels" / cache_key("1.2.3", CMAKE_ARGS, instruction_sets())
    folder.mkdir(parents=True)
    wheel = folder / "llama_cpp_python-1.2.3-py3-none-any.whl"
    wheel.touch()

    assert llama_wheel(Path("/no/python"), requirements, tmp_path / "log") == wheel


def test_without_a_compiler_the_package_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match="build-essential"):
        llama_wheel(Path("/no/python"), ROOT / "requirements" / "native.txt", tmp_path / "log")


def test_the_builds_own_lines_become_progress() -> None:
    assert describe_build("  [37/140] /usr/bin/g++ -O3 -c ggml.cpp") == "[37/140] compiled"
    assert describe_build("  [ 26%] Building CXX object ggml.cpp.o") == "[26 %] compiled"
    assert describe_build("  -- Found OpenMP") is None
    assert describe_pip("Collecting numpy==2.4.6 (from limbic)") == "numpy"
    assert describe_pip("Requirement already satisfied: numpy") is None


class Listener(io.StringIO):
    """A standard output that lets the command go on once its progress has been shown."""

    def __init__(self, awaited: str, go: Path) -> None:
        super().__init__()
        self._awaited = awaited
        self._go = go

    def write(self, text: str) -> int:
        if self._awaited in text and self._awaited not in self.getvalue():
            self._go.write_text("go")
        return super().write(text)


def test_a_long_command_shows_that_it_goes_on_and_keeps_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.progress.REDRAW_S", 0.05)
    monkeypatch.setattr("tools.progress.REPORT_S", 0.0)
    go, log = tmp_path / "go", tmp_path / "log"
    os.mkfifo(go)
    said = Listener("[1/2] compiled", go)
    monkeypatch.setattr(sys, "stdout", said)
    script = f"print('[1/2] one', flush=True); open({str(go)!r}).read(); print('[2/2] two')"
    run_logged("building", [sys.executable, "-c", script], log, describe=describe_build)

    assert "  [1/2] compiled, 0 s" in said.getvalue()
    assert "  done after 0 s" in said.getvalue()
    assert log.read_text() == "[1/2] one\n[2/2] two\n"


def test_a_command_that_fails_shows_the_end_of_its_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    with pytest.raises(StepError, match="building failed with status 3"):
        run_logged("building", command, tmp_path / "log", describe=lambda line: None)

    assert "| the reason" in capsys.readouterr().err


def test_durations_are_written_as_people_say_them() -> None:
    assert elapsed(12.9) == "12 s"
    assert elapsed(75) == "1 min 15 s"


def test_make_without_a_target_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "make up " in done.stdout
    assert "make test " in done.stdout
