"""Packaging: `pip install .` gives the `director` command."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def version() -> str:
    """The version in director/__init__.py, read as text so that nothing has to be installed first."""
    found = re.search(r'^__version__ = "([^"]+)"$', (HERE / "director/__init__.py").read_text(encoding="utf-8"), re.M)
    if not found:
        raise SystemExit("director/__init__.py has no __version__")
    return found.group(1)


def requirements() -> list[str]:
    """The lines of requirements.txt that name a package."""
    lines = (line.partition("#")[0].strip() for line in (HERE / "requirements.txt").read_text().splitlines())
    return [line for line in lines if line]


setup(
    name="director",
    version=version(),
    description="Asynchronous deployment and operations for the whole life of a data center",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["director", "director.*"]),
    package_dir={"": "."},  # with this an editable install is a plain path entry: no import hook at each start
    data_files=[
        (f"share/man/man{path[-1]}", [path]) for path in ("contrib/man/director.1", "contrib/man/director-verbs.7")
    ],
    package_data={"director": ["py.typed", "**/*.sql"]},
    install_requires=requirements(),
    extras_require={
        "test": [
            "pytest>=8,<9.2",  # pytest-xdist 3.8 keeps no groups together under 9.2
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "ruff>=0.9,<1",
            "mypy>=1.11",
            "types-PyYAML",
            "types-psutil",
            "types-ujson",
            "zizmor>=1.20; platform_machine == 'x86_64' or platform_machine == 'aarch64'",
            "dockerfile>=3.4; platform_machine == 'x86_64'",
        ]
    },
    entry_points={"console_scripts": ["director=director.__main__:program"]},
    classifiers=[
        "Environment :: Console",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: System :: Systems Administration",
    ],
)
