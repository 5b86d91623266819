"""The script `runbook`: a first use that makes the environment, later ones that start at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.small_project import PYTHON, ROOT, SmallProject

OLD = f"""exec "{PYTHON}" -I -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])' "$3" """
BARE = f"""exec "{PYTHON}" -I -c 'import sys; sys.modules["ensurepip"] = None; exec(sys.argv[1])' "$3" """


def without_ensurepip(project: SmallProject, name: str) -> None:
    """A Python as Debian ships it without its venv package."""
    project.put_on_path(name, BARE)


@pytest.fixture
def project(tmp_path) -> SmallProject:
    """A project that nobody has used."""
    return SmallProject.make(tmp_path)


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> SmallProject:
    """A project that has been used once; a test may change it as long as it leaves it working.

    The first Python it met has no venv, and was passed over.
    """
    project = SmallProject.make(tmp_path_factory.mktemp("used"))
    without_ensurepip(project, "python3.13")
    first = project.run("hello", "two words", "")
    assert first.told["arguments"] == ["hello", "two words", ""]
    said = first.err.splitlines()
    assert [line.rsplit(",", 1)[0] for line in said[1:]] == ["runbook: the packages are in place", "runbook: ready"], (
        said
    )
    assert "sets up" in said[0]
    return project


def wait_for(condition, seconds=180.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_later_uses_need_neither_python_nor_pip_nor_a_word(used):
    names = ("python3", "python3.13")
    for name in names:
        (used.bin / name).rename(used.bin / f"hidden {name}")
    try:
        found = used.run("status")
    finally:
        for name in names:
            (used.bin / f"hidden {name}").rename(used.bin / name)

    assert found.told["environment"] == str(used.venv)
    assert found.err == ""


def test_packages_are_compiled_even_where_imports_write_no_bytecode(project):
    project.environment["PYTHONDONTWRITEBYTECODE"] = "1"

    assert project.run().code == 0
    wait_for(lambda: [*project.folder.glob(".venv/lib/*/site-packages/**/pebble*.pyc")])


@pytest.mark.parametrize("python", ["fit", "bare"])
def test_records_are_verified_with_python_alone_and_nothing_is_installed(project, python):
    (project.folder / "runbook_lib" / "records").mkdir()
    (project.folder / "runbook_lib" / "records" / "verify.py").write_text(
        "import sys\nprint(sys.argv[1:])\nsys.exit(1)"
    )
    (project.folder / "runbook_lib" / "records" / "platform.py").write_text(
        "raise SystemExit('in place of the standard library')"
    )
    if python == "bare":
        without_ensurepip(project, "python3")
    found = project.run("verify", "a folder", "--head", "abc")

    assert (found.code, found.out, found.err) == (1, "['a folder', '--head', 'abc']\n", "")
    assert not project.venv.exists()


def test_it_runs_from_any_folder_through_links_and_passes_the_exit_code_on(used, tmp_path):
    (tmp_path / "runbook_lib").mkdir()
    (tmp_path / "runbook_lib" / "cli.py").write_text("print('the wrong one')")
    (tmp_path / "link").symlink_to(used.folder / "runbook")
    (tmp_path / "link to a link").symlink_to("link")
    used.environment["EXIT"] = "3"
    try:
        found = used.run(script=tmp_path / "link to a link", cwd=tmp_path)
    finally:
        del used.environment["EXIT"]

    assert found.code == 3
    assert found.told["folder"] == str(tmp_path)
    assert found.told["library"] == str(used.folder / "runbook_lib" / "__init__.py")


def test_a_changed_project_file_reinstalls_the_project_alone(used):
    (used.venv / "left alone").touch()
    with (used.folder / "pyproject.toml").open("a") as file:
        file.write("\n[tool.something]\n")

    assert used.run().err == ""
    assert (used.venv / "left alone").exists()
    assert (used.folder / "pyproject.toml").read_text().count("something") == 1
    assert used.run().code == 0


def test_a_changed_lock_makes_the_environment_anew(used):
    (used.venv / "of the old lock").touch()
    used.lock("2.0")

    found = used.run()

    assert found.told["pebble"] == "2.0"
    assert "sets up" in found.err
    assert not (used.venv / "of the old lock").exists()


def test_an_environment_whose_interpreter_is_gone_is_made_anew(used):
    (used.venv / "bin" / "python").unlink()
    (used.venv / "bin" / "python").symlink_to("/nowhere/python3.11")

    assert used.run().code == 0


def test_a_folder_that_was_moved_gets_an_environment_of_its_own(used, tmp_path):
    moved = SmallProject(tmp_path / "moved", used.outside)
    shutil.copytree(used.folder, moved.folder, symlinks=True)

    found = moved.run()

    assert found.told["library"] == str(moved.folder / "runbook_lib" / "__init__.py")
    assert str(used.folder) not in (moved.venv / "bin" / "pip").read_text()


def test_an_interrupted_first_use_is_repeated(project):
    process = project.start()
    wait_for((project.venv / "pyvenv.cfg").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (project.venv / "half made").touch()

    found = project.run()

    assert found.code == 0
    assert "sets up" in found.err
    assert not (project.venv / "half made").exists()


def test_of_two_first_uses_at_once_one_waits_for_the_other(project, tmp_path):
    """Both in a place of the caller's choice, which need not exist yet."""
    project.environment["RUNBOOK_VENV"] = "not made yet/environment"

    both = [project.start(str(number), cwd=tmp_path) for number in range(2)]
    said = [process.communicate(timeout=300) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert sum("sets up" in err and "waiting" not in err for _, err in said) == 1, said
    assert sum("another one is setting up here; waiting" in err for _, err in said) == 1, said
    assert all(str(tmp_path / "not made yet" / "environment") in out for out, _ in said)
    assert not project.venv.exists()


def test_what_is_set_for_python_and_pip_changes_neither_what_is_installed_nor_what_is_imported(project, tmp_path):
    (tmp_path / "pebble.py").write_text("VERSION = 'another'")
    project.environment |= {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONSTARTUP": "/nowhere"}
    project.environment |= {
        "PIP_TARGET": str(tmp_path / "target"),
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_NO_BINARY": ":all:",
    }

    found = project.run()

    assert found.told["pebble"] == "1.0", found.err
    assert not (tmp_path / "target").exists()


def test_a_package_with_another_hash_is_refused_and_nothing_passes_for_done(project):
    project.lock("1.0", digest="0" * 64)

    found = project.run()

    assert found.code == 2
    assert "requirements.lock cannot be installed, see above: check the network, proxy and index" in found.err
    assert "not finished: the next use starts again" in found.err
    assert not (project.venv / "runbook-stamp").exists()


def test_a_folder_that_is_no_environment_is_never_replaced(project, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "work").touch()
    project.environment["RUNBOOK_VENV"] = str(precious)

    found = project.run()

    assert found.code == 2
    assert f"{precious} is neither empty nor a virtual environment" in found.err
    assert (precious / "work").exists()


def test_without_a_python_that_fits_it_says_what_it_found(project):
    project.put_on_path("python3.13", "exit 127")  # a shim with nothing behind it
    project.put_on_path("python3", OLD)

    found = project.run()

    assert (found.code, found.out) == (2, "")
    assert found.err == "runbook: needs Python 3.11 or newer on the PATH; found python3 is 3.9.2\n"
    assert not project.venv.exists()


def test_without_any_python_it_says_so(project):
    (project.bin / "python3").unlink()

    assert project.run().err == "runbook: needs Python 3.11 or newer on the PATH; found none\n"


def test_a_python_without_venv_is_told_what_to_install(project):
    without_ensurepip(project, "python3")

    found = project.run()

    assert found.code == 2
    assert "without venv and ensurepip" in found.err
    assert "apt-get install python3." in found.err
    assert "-venv" in found.err


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not on the PATH")
def test_uv_is_used_when_it_is_there_and_needs_no_ensurepip(project):
    (project.bin / "uv").symlink_to(str(shutil.which("uv")))
    (project.bin / "python3").unlink()
    without_ensurepip(project, "python3")

    found = project.run()

    assert found.code == 0, found.err
    assert project.run().err == ""
    assert not (project.venv / "bin" / "pip").exists()


@pytest.mark.parametrize("script", ["runbook", ".ci/run"])
def test_the_scripts_are_executable_and_parse(script):
    path = ROOT / script
    shell = "sh" if script == "runbook" else "bash"

    assert os.access(path, os.X_OK)
    subprocess.run([shell, "-n", str(path)], check=True)


def test_the_bootstrap_is_short():
    assert len(Path(ROOT / "runbook").read_text().splitlines()) < 150
