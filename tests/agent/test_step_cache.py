"""The cache's chains: equal steps are known, the first that differs breaks, and what is on disk is never too much."""

from __future__ import annotations

from pathlib import Path

from director.agent.step_cache import LINK_LIMIT, CachedStep, StepCache


def go_through(chains: StepCache, job: str, marks: str, fresh: bool = False) -> str:
    """One job with a step for each letter: `r` where it ran, `c` where it was cached."""
    chain = chains.of(job, "site", "0:", fresh)
    done = ""
    for step, mark in enumerate(marks):
        known = chain.known(step, mark)
        done += "r" if known is None else "c"
        if known is None:
            chain.record(step, CachedStep(mark, {}, 1.0, job))
    chains.end(job)
    return done


def test_the_same_steps_run_once_and_the_first_that_differs_breaks(tmp_path: Path) -> None:
    for job, marks, expected in (
        ("1", "abc", "rrr"), ("2", "abc", "ccc"), ("3", "axc", "crr"), ("4", "abc", "crr"), ("5", "abcd", "cccr"),
    ):  # fmt: skip
        assert go_through(StepCache(str(tmp_path)), job, marks) == expected, job


def test_no_cache_begins_anew_and_is_remembered(tmp_path: Path) -> None:
    chains = StepCache(str(tmp_path))
    assert go_through(chains, "1", "ab") == "rr"
    assert go_through(chains, "2", "ab", fresh=True) == "rr"
    assert go_through(chains, "3", "ab") == "cc"


def test_the_cut_is_on_disk_before_the_step_that_differs_runs(tmp_path: Path) -> None:
    go_through(StepCache(str(tmp_path)), "1", "abc")
    chain = StepCache(str(tmp_path)).of("2", "site", "0:", False)
    assert chain.known(0, "a") is not None
    assert chain.known(1, "x") is None  # and now the client dies
    assert go_through(StepCache(str(tmp_path)), "3", "abc") == "crr"


def test_stages_and_files_have_chains_of_their_own(tmp_path: Path) -> None:
    chains = StepCache(str(tmp_path))
    go_through(chains, "1", "ab")
    assert chains.of("2", "site", "1:", False).known(0, "a") is None
    assert chains.of("2", "other", "0:", False).known(0, "a") is None


def test_evicting_forgets_all(tmp_path: Path) -> None:
    chains = StepCache(str(tmp_path))
    go_through(chains, "1", "ab")
    chains.clear()
    assert go_through(chains, "2", "ab") == "rr"


def test_a_step_whose_kept_output_is_too_large_runs_again(tmp_path: Path) -> None:
    chains = StepCache(str(tmp_path))
    chain = chains.of("1", "site", "0:", False)
    assert chain.known(0, "a") is None
    chain.record(0, CachedStep("a", {"arg": {"OUT": "x" * LINK_LIMIT}}, 1.0, "1"))
    chains.end("1")
    assert go_through(chains, "2", "a") == "r"


def test_a_damaged_file_only_costs_a_run(tmp_path: Path) -> None:
    go_through(StepCache(str(tmp_path)), "1", "ab")
    for path in tmp_path.iterdir():
        path.write_text("[[")
    assert go_through(StepCache(str(tmp_path)), "2", "ab") == "rr"
