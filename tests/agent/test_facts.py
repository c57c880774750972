"""Facts of the host, and of made-up hosts in a folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from director.agent import facts


def test_facts_of_this_host() -> None:
    found = facts.read()
    assert found["os"].keys() == {"id", "version", "name"}
    assert found["cpu"]["count"] >= 1
    assert 0 < found["memory"]["total"] < 1 << 50
    assert found["disk"]["total"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["boot_time"])
    assert re.fullmatch(r"[0-9a-f-]{36}", found["boot_id"])
    assert all(not address.startswith("127.") for address in found["addresses"])
    whole = ("hostname", "kernel", "arch", "addresses", "boot_time", "boot_id", "virtualization")
    assert found.keys() == {*whole, "os", "cpu", "memory", "disk", "local"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n'}, ("debian", "12", "Debian 12")),
        ({"usr/lib/os-release": "ID=arch\nNAME='Arch \\$x'\n"}, ("arch", "", "Arch $x")),
        ({}, ("linux", "", "")),
    ],
)
def test_os_release(files: dict[str, str], expected: tuple[str, str, str], tmp_path: Path) -> None:
    write(tmp_path, files)
    assert tuple(facts.os_release(str(tmp_path)).values()) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "none"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
        ({"proc/1/environ": "PATH=/bin\0container=podman\0"}, "podman"),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "kvm"),
        ({"sys/class/dmi/id/product_name": "VirtualBox\n"}, "oracle"),
        ({"sys/hypervisor/type": "xen\n"}, "xen"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor lm\n"}, "vm-other"),
        ({"proc/cpuinfo": "flags\t: fpu lm\n"}, "none"),
    ],
)
def test_virtualization(files: dict[str, str], expected: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert facts.virtualization(str(tmp_path)) == expected


def test_addresses() -> None:
    import socket
    from types import SimpleNamespace as Address

    found = {
        "lo": [Address(family=socket.AF_INET, address="127.0.0.1"), Address(family=socket.AF_INET6, address="::1")],
        "eth0": [
            Address(family=socket.AF_INET6, address="fe80::1%eth0"),
            Address(family=socket.AF_INET6, address="2001:db8::1"),
            Address(family=socket.AF_INET, address="192.0.2.1"),
            Address(family=17, address="00:11:22:33:44:55"),
        ],
    }
    assert facts._addresses(found) == ["192.0.2.1", "2001:db8::1"]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
