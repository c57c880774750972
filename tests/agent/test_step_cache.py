"""The step cache: equal steps are found, the first that differs cuts it, and the disk never claims too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from director.agent.step_cache import EFFECTS_LIMIT, CachedStep, StepCache

STAGE = {"stage": 0}


def head(name: str = "site", resumed: bool = False, **options: Any) -> dict[str, Any]:
    return {"name": name, "options": options, "resumed": resumed}


def find(cache: StepCache, job: str, step: int, fingerprint: str, **of: Any) -> CachedStep | None:
    """What the cache knows of a step of a job."""
    stage = cache.of(job, head(of.get("file", "site")), {"stage": of.get("stage", 0)})
    stage.enter(step)
    return stage.find(fingerprint, {})[0]


def go_through(cache: StepCache, job: str, fingerprints: str, **options: Any) -> str:
    """One job with a step for each letter: `r` where it ran, `c` where it was cached."""
    stage = cache.of(job, head(**options), STAGE)
    done = ""
    for step, fingerprint in enumerate(fingerprints):
        stage.enter(step)
        found, _ = stage.find(fingerprint, {})
        done += "r" if found is None else "c"
        if found is None:
            stage.record(CachedStep(fingerprint, {}, 1.0, job))
    cache.end(job)
    return done


def test_the_same_steps_run_once_and_the_first_that_differs_breaks(tmp_path: Path) -> None:
    for job, fingerprints, expected in (
        ("1", "abc", "rrr"), ("2", "abc", "ccc"), ("3", "axc", "crr"), ("4", "abc", "crr"), ("5", "abcd", "cccr"),
    ):  # fmt: skip
        assert go_through(StepCache(str(tmp_path)), job, fingerprints) == expected, job


def test_no_cache_begins_anew_and_is_remembered(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    assert go_through(cache, "1", "ab") == "rr"
    assert go_through(cache, "2", "ab", no_cache=True) == "rr"
    assert go_through(cache, "3", "ab") == "cc"


def test_a_resumed_job_runs_all_its_steps_as_their_places_are_not_known(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    assert go_through(cache, "1", "ab") == "rr"
    assert go_through(cache, "2", "ac", resumed=True) == "rr"
    assert go_through(cache, "3", "ab") == "cr"


def test_the_cut_is_on_disk_before_the_step_that_differs_runs(tmp_path: Path) -> None:
    go_through(StepCache(str(tmp_path)), "1", "abc")
    cache = StepCache(str(tmp_path))
    assert find(cache, "2", 0, "a") is not None
    assert find(cache, "2", 1, "x") is None  # and now the client dies
    assert go_through(StepCache(str(tmp_path)), "3", "abc") == "crr"


def test_a_read_only_stage_writes_nothing(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    go_through(cache, "1", "abc")
    stage = cache.load(head(), STAGE, read_only=True)
    for step, fingerprint in enumerate("axc"):
        stage.enter(step)
        assert (stage.find(fingerprint, {})[0] is not None) == (fingerprint == "a")
        stage.record(CachedStep(fingerprint))
        stage.save()
    assert stage.broken == "step 2 before it changed"
    assert go_through(StepCache(str(tmp_path)), "2", "abc") == "ccc"


def test_another_attempt_of_a_step_keeps_its_place(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    assert find(cache, "1", 3, "a") is find(cache, "1", 3, "a") is None
    cache.of("1", head(), STAGE).record(CachedStep("a"))
    cache.end("1")
    assert go_through(cache, "2", "a") == "c"


def test_stages_and_files_have_steps_of_their_own(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    go_through(cache, "1", "ab")
    assert find(cache, "2", 0, "a", stage=1) is None
    assert find(cache, "3", 0, "a", file="other") is None


def test_evicting_forgets_all(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    go_through(cache, "1", "ab")
    cache.clear()
    assert go_through(cache, "2", "ab") == "rr"


def test_a_step_whose_kept_output_is_too_large_runs_again(tmp_path: Path) -> None:
    cache = StepCache(str(tmp_path))
    assert find(cache, "1", 0, "a") is None
    cache.of("1", head(), STAGE).record(CachedStep("a", {"arg": {"OUT": "x" * EFFECTS_LIMIT}}, 1.0, "1"))
    cache.end("1")
    assert go_through(cache, "2", "a") == "r"


def test_a_damaged_file_only_costs_a_run(tmp_path: Path) -> None:
    go_through(StepCache(str(tmp_path)), "1", "ab")
    for path in tmp_path.iterdir():
        path.write_text("[[")
    assert go_through(StepCache(str(tmp_path)), "2", "ab") == "rr"
