"""The facts of a node, read from psutil, /etc and the kernel in a few milliseconds.

The names are those of the targets (`fact:os.id=debian`, `fact:memory.total>8G`) and of templates (`facts.os.id`).
"""

from __future__ import annotations

import os
import platform
import socket
import time
from typing import Any

from director.agent import local_facts

_MAKERS = {
    "kvm": "kvm",
    "qemu": "kvm",
    "amazon": "kvm",
    "google": "kvm",
    "openstack": "kvm",
    "digitalocean": "kvm",
    "vmware": "vmware",
    "virtualbox": "oracle",
    "innotek": "oracle",
    "microsoft": "microsoft",
    "xen": "xen",
    "parallels": "parallels",
    "bochs": "bochs",
    "apple virtualization": "apple",
}


def read(root: str = "/") -> dict[str, Any]:
    """The facts of this host as a nested JSON-able dict; sizes in bytes, `boot_time` in ISO 8601 UTC.

    Args:
        root: the folder that holds `etc`, `proc`, `run` and `sys`.
    """
    import psutil

    return {
        "hostname": socket.gethostname(),
        "os": os_release(root),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "cpu": {"count": os.cpu_count() or 1},
        "memory": {"total": psutil.virtual_memory().total},
        "disk": {"total": psutil.disk_usage(root).total},
        "addresses": _addresses(psutil.net_if_addrs()),
        "boot_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(psutil.boot_time())),
        "boot_id": boot_id(root),
        "virtualization": virtualization(root),
        "local": local_facts.read(root),
    }


def boot_id(root: str = "/") -> str:
    """The kernel's id of this boot, "" when it has none."""
    return _text(root, "proc/sys/kernel/random/boot_id")


def boot_epoch() -> float:
    """When the host was started, epoch seconds by its clock."""
    import psutil

    return float(psutil.boot_time())


def os_release(root: str = "/") -> dict[str, str]:
    """`id`, `version` and `name` of the operating system; "" for what is not known."""
    text = _text(root, "etc/os-release") or _text(root, "usr/lib/os-release")
    values = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        values[name.strip()] = _unquoted(value.strip())
    return {
        "id": values.get("ID", platform.system().lower()),
        "version": values.get("VERSION_ID", ""),
        "name": values.get("PRETTY_NAME") or values.get("NAME", ""),
    }


def virtualization(root: str = "/") -> str:
    """`docker`, `podman` … in a container, else `kvm`, `vmware` …, else `none`, as systemd-detect-virt names them."""
    kind = _text(root, "run/systemd/container") or _container_variable(root)
    if kind:
        return kind
    for file, name in (("run/.containerenv", "podman"), (".dockerenv", "docker")):
        if os.path.exists(os.path.join(root, file)):
            return name
    maker = " ".join(_text(root, f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")).lower()
    for word, name in _MAKERS.items():
        if word in maker:
            return name
    if _text(root, "sys/hypervisor/type"):
        return _text(root, "sys/hypervisor/type")
    return "vm-other" if " hypervisor" in _text(root, "proc/cpuinfo") else "none"


def _container_variable(root: str) -> str:
    for item in _text(root, "proc/1/environ").split("\0"):
        if item.startswith("container="):
            return item.partition("=")[2]
    return ""


def _addresses(interfaces: dict[str, list[Any]]) -> list[str]:
    """IPv4 addresses, then IPv6; no loopback and no link-local ones."""
    found: dict[int, list[str]] = {socket.AF_INET: [], socket.AF_INET6: []}
    for addresses in interfaces.values():
        for item in addresses:
            if item.family in found and _reachable(item.address):
                found[item.family].append(item.address)
    return list(dict.fromkeys(found[socket.AF_INET] + found[socket.AF_INET6]))


def _reachable(address: str) -> bool:
    return not address.startswith(("127.", "169.254.", "fe80:")) and address != "::1" and "%" not in address


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    for char in '"$`\\':
        value = value.replace("\\" + char, char)
    return value


def _text(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
            return file.read(65536).strip()
    except OSError:
        return ""
