"""Packaging: `pip install .` gives the `director` command."""

from __future__ import annotations

import os
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


def urls() -> dict[str, str]:
    """Where the source is, when this is built by a workflow there; a copy elsewhere does not know."""
    server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if not server or not repository:
        return {}
    home = f"{server}/{repository}"
    pages = {"Documentation": "blob/main/docs/index.md", "Changes": "blob/main/CHANGELOG.md", "Issues": "issues"}
    return {"Source": home, **{name: f"{home}/{path}" for name, path in pages.items()}}


setup(
    name="director-fleet",
    version=version(),
    description="Asynchronous deployment and operations for the whole life of a data center",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords="deployment operations orchestration fleet configuration-management remote-execution ssh devops zeromq",
    project_urls=urls(),
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
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: No Input/Output (Daemon)",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: System :: Clustering",
        "Topic :: System :: Installation/Setup",
        "Topic :: System :: Systems Administration",
        "Typing :: Typed",
    ],
)
