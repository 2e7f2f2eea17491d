"""The package as others get it: light to import, complete as a wheel, its requirements locked."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.notebooks import ROOT
from tests.public_api import public_modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = PROJECT["dependencies"]
EXTRAS = PROJECT["optional-dependencies"]
HEAVY = {"torch", "transformers", "matplotlib", "anywidget", "IPython", "scipy", "pandas"}
# Modules that commands, the book's build and widgets use; they may load more than numpy.
NOT_LIGHT = re.compile(r"lmcourse\.(book|widgets|data\.build)\b")
# Topics whose functions take and give torch's tensors.
ON_TORCH = re.compile(
    r"lmcourse\.(attention|character_lstm|gpt2|keras|positional|transformer|torch_models)\b"
)
COMES_WITH = {"traitlets": "anywidget", "sphinx": "jupyter-book"}
WHO_LOADS_WHAT = """
import importlib, json, sys
modules, heavy = json.loads(sys.argv[1])
loaded_by = {}
for module in modules:
    importlib.import_module(module)
    for name in heavy:
        if name in sys.modules:
            loaded_by.setdefault(name, module)
print(json.dumps(loaded_by))
"""


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    ).stdout


def loaded_by(modules, heavy):
    """Import modules in turn in a new process; return which of them first loaded what is heavy."""
    return json.loads(run("-c", WHO_LOADS_WHAT, json.dumps([modules, sorted(heavy)])))


def third_party_imports(source):
    """Return the top-level names of the packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"lmcourse"}


def names_of(requirements):
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def pins():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in pinned}


def test_importing_the_package_loads_neither_numpy_nor_anything_heavy():
    assert loaded_by(["lmcourse"], HEAVY | {"numpy"}) == {}


def test_the_modules_of_formulas_load_nothing_heavy():
    light = [n for n in public_modules() if not (NOT_LIGHT.match(n) or ON_TORCH.match(n))]
    assert len(light) >= 8
    assert loaded_by(light, HEAVY) == {}


def test_only_topics_on_torch_load_torch_before_it_is_used():
    others = [n for n in public_modules() if n != "lmcourse.data.build" and not ON_TORCH.match(n)]
    assert loaded_by(others, {"torch", "transformers"}) == {}


def test_only_the_kernels_load_triton():
    others = [n for n in public_modules() if ON_TORCH.match(n) and "triton" not in n]
    assert len(others) >= 8
    assert loaded_by(others, {"triton", "transformers"}) == {}


def test_what_loads_heavy_packages_is_named():
    assert loaded_by(["json", "decimal"], {"decimal", "fractions"}) == {"decimal": "decimal"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "lmcourse").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_what_a_module_imports_is_declared(path):
    declared = list(CORE)
    if "book" in path.parts:
        declared += EXTRAS["book"]
    if path.name == "build.py":
        declared += EXTRAS["test"]
    if path.stem.endswith("_numba"):
        declared += EXTRAS["fast"]
    if path.stem.startswith("triton_"):
        declared += EXTRAS["gpu"]
    if path.stem == "pretrained":
        declared += EXTRAS["hub"]
    imported = third_party_imports(path.read_text(encoding="utf-8"))
    needed = {canonicalize_name(COMES_WITH.get(name, name)) for name in imported}
    assert needed <= names_of(declared), "missing from pyproject.toml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_every_file_of_the_package(wheel):
    def files(folder):
        found = [path for path in (folder / "lmcourse").rglob("*") if path.is_file()]
        return {str(p.relative_to(folder)) for p in found if "__pycache__" not in p.parts}

    assert files(wheel) == files(ROOT)
    kinds = {Path(name).suffix for name in files(wheel)}
    assert {".py", ".js", ".css", ".mplstyle", ".xz", ".json", ".md"} <= kinds
    (licence,) = wheel.rglob("LICENSE")
    assert licence.read_text() == (ROOT / "LICENSE").read_text()


def test_the_wheel_works_away_from_the_repository(wheel):
    script = (
        "import numpy as np, lmcourse\n"
        "from lmcourse.data import load_corpus\n"
        "from lmcourse.plotting import use_style\n"
        "from lmcourse.widgets import SamplerView\n"
        "use_style()\n"
        "SamplerView(np.zeros(2), ['a', 'b'])\n"
        "print(len(load_corpus('austen').text) > 1e6, lmcourse.__file__)"
    )
    loaded, where = run("-c", script, cwd=wheel).split(maxsplit=1)
    assert loaded == "True"
    assert Path(where.strip()).is_relative_to(wheel)


def test_the_lock_pins_every_dependency_within_its_range():
    pinned = pins()
    for line in [*CORE, *EXTRAS["book"], *EXTRAS["test"]]:
        requirement = Requirement(line)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"requirements.txt lacks {requirement.name}; say `make lock`"
        assert requirement.specifier.contains(version), f"{line} rules out the locked {version}"


def test_the_lock_installs_anywhere():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in text, "an index or a file of one machine"
    assert not re.search(r"^\s*-", text, re.MULTILINE), "options such as --index-url"
    for name, version in pins().items():
        assert Version(version).local is None, f"{name}=={version} is the build of one index"
    assert "torch" in pins()
    assert "make lock" in text, "the header says how it is recompiled"


def test_the_lock_brings_no_gpu_libraries():
    """The chapters run without a GPU, and CUDA's libraries weigh gigabytes."""
    assert not [name for name in pins() if name.startswith(("nvidia-", "cuda-"))]
