"""All that is wrong in a file is told by one call, a line each, and nothing is left behind."""

from __future__ import annotations

from harness import Fleet


def test_each_error_is_a_line(fleet: Fleet) -> None:
    fleet.wait_online(fleet.start_clients(1))
    (fleet.folder / "there").write_text("x")
    path = fleet.folder / "site.director"
    path.write_text(
        "RUN --tiemout=3 a\nCOPY there /nowhere/x\nRNU b\nCOPY missing /x/\nEXPOSE nothing\nCOPY missing /y/\n"
        "USER a b\nFROM node-1\nRUN c\n"
    )
    done = fleet.director("--orchestrate", str(path))
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith(f"director: {path}:") for line in lines), done.stderr
    assert {line.removeprefix(f"director: {path}:").partition(":")[0] for line in lines} >= {"1", "2", "3"}
    path.write_text(path.read_text().replace("FROM node-1\n", ""))
    done = fleet.director("--orchestrate", str(path))
    told = [line.removeprefix(f"director: {path}:").partition(":")[0] for line in done.stderr.splitlines()]
    assert told == ["1", "3", "4", "5", "6", "7"], done.stderr
    plan = fleet.director("--plan", str(path))
    assert plan.returncode == 2 and plan.stderr == done.stderr
    one = fleet.director("--orchestrate", str(path), "--output", "json")
    assert one.returncode == 2 and one.stdout == ""
    assert fleet.run_json("--list-jobs") == []


def test_a_file_of_nothing_but_errors(fleet: Fleet) -> None:
    done = fleet.director("--exec", "\n".join(["RNU a"] * 30))
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 21
    assert lines[0].startswith("director: exec:1: unknown instruction 'RNU'")
    assert lines[-1] == "director: these are the first 20 errors; there may be more"
