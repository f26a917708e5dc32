"""The files that instances find at /var/runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from samovar.guest import shown_files


def test_our_runtime_imports_nothing_that_is_not_shown(tmp_path: Path):
    for name, content in shown_files.find().items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    here = f"{tmp_path}{shown_files.DIRECTORY}"
    program = f"import sys; sys.path.insert(0, {here!r}); import samovar.guest.python_runtime"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, timeout=60)
