"""pyproject.toml, constraints.txt and environment.yml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIRED = [
    Requirement(text)
    for text in [*PROJECT["dependencies"], *(t for texts in EXTRAS.values() for t in texts)]
    if not text.startswith("seghw[")
]
PINNED = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("requirement", REQUIRED, ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_lower_bound_and_a_pin_that_meets_it(requirement):
    assert re.search(r">=|==", str(requirement.specifier)), f"{requirement} has no lower bound"
    pins = [p for p in PINNED if canonicalize_name(p.name) == canonicalize_name(requirement.name)]
    assert pins, f"constraints.txt does not pin {requirement.name}"
    for pin in pins:
        [version] = [Version(s.version) for s in pin.specifier]
        assert version in requirement.specifier, f"{pin} does not meet {requirement}"


def test_conda_and_make_install_the_package_at_the_pinned_versions():
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in PINNED)
    assert "-c constraints.txt -e '.[test]'" in (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()
    entries = [line.strip().removeprefix("- ") for line in lines]
    assert "-c constraints.txt" in entries
    assert "-e .[test]" in entries
    assert f"python{PROJECT['requires-python']}" in entries
