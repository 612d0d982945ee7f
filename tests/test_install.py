"""The sdist and the wheel built from it install into a clean venv and run outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SKIPPED = shutil.ignore_patterns(
    ".git", ".venv", "build", "lib", "*.egg-info", "runs", "__pycache__", ".*_cache"
)


def run(*command: str | Path, **options) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy of the checkout: building leaves files beside its sources."""
    tree = tmp_path_factory.mktemp("sdist") / "tree"
    shutil.copytree(CHECKOUT, tree, ignore=SKIPPED)
    code = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, tree.parent, cwd=tree)
    (archive,) = tree.parent.glob("*.tar.gz")
    return archive


def install(sdist: Path, folder: Path, **environment: str) -> Path:
    """The wheel of the sdist in a new venv, which sees this one's packages behind its own."""
    build = {**os.environ, "INVAD_FAST_CUDA": "0", **environment}
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    run(*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, sdist, env=build)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(python, "-m", "pip", "--disable-pip-version-check", "install", *offline,
        "--force-reinstall", wheel)  # fmt: skip
    return python


def test_sdist_is_complete(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    sources = [*CHECKOUT.glob("csrc/**/*.[ch]*"), *CHECKOUT.glob("kernels/*.py")]
    assert {str(path.relative_to(CHECKOUT)) for path in sources} <= names
    assert "invad_fast/py.typed" in names and "LICENSE" in names
    assert not any(name.startswith("shared") for name in names)


def test_wheel_runs_outside_the_checkout(sdist: Path, tmp_path: Path) -> None:
    python = install(sdist, tmp_path)
    code = (
        "import invad_fast, invad_fast.kernels, torch; from invad_fast import InvAD, InvADConfig; "
        "model = InvAD(InvADConfig(encoder=None, channels=(8, 8, 8), grid=(2, 2))).eval(); "
        "model.reconstruct([torch.zeros(1, 8, s, s) for s in (8, 4, 2)]); "
        "print(invad_fast.__file__)"
    )
    where = Path(run(python, "-c", code, cwd=tmp_path).strip())
    assert tmp_path in where.parents and (where.parent / "py.typed").is_file()
    assert (where.parent / "lib" / "invad_fast_cpu.so").is_file()
    shipped = CHECKOUT / "invad_fast" / "benchmark" / "configs"
    installed = where.parent / "benchmark" / "configs"
    names = {path.name for path in shipped.glob("*.yaml")}
    assert len(names) == 4 and {path.name for path in installed.iterdir()} == names
    assert (where.parent / "benchmark" / "published.json").is_file()
    assert "bias_leaky_relu" in run(python.parent / "invad-fast", "doctor", cwd=tmp_path)


def test_without_a_compiler_it_still_installs(sdist: Path, tmp_path: Path) -> None:
    python = install(sdist, tmp_path, CXX="no-such-compiler")
    told = run(python.parent / "invad-fast", "doctor", cwd=tmp_path)
    assert "cpu: no C++ compiler was found when it was installed (g++ or clang++)" in told
