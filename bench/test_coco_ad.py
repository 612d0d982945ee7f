"""COCO-AD built from annotation files as large as COCO 2017's: time, and peak memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from full_size_coco import write_full_size_coco

# a process of its own, so that the peak is the build's
BUILD = """
import json, resource, sys
from invad_fast.data.coco_ad import build_coco_ad
root, split, out, masks = sys.argv[1:]
reports = build_coco_ad(root, split if split == "all" else int(split), out, masks)
used = resource.getrusage(resource.RUSAGE_SELF)
peak, cpu = used.ru_maxrss / 2**20, used.ru_utime + used.ru_stime
print(json.dumps({"peak_gib": peak, "cpu_s": cpu, "complete": [r.complete for r in reports]}))
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pycocotools")
    folder = tmp_path_factory.mktemp("coco")
    write_full_size_coco(folder)
    return folder


@pytest.mark.parametrize("split, masks", [("0", "none"), ("0", "png"), ("all", "png")])
def test_build_coco_ad(benchmark, root: Path, tmp_path: Path, split: str, masks: str) -> None:
    command = [sys.executable, "-c", BUILD, str(root), split, str(tmp_path / "out"), masks]

    def build() -> dict:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    result = benchmark.pedantic(build, rounds=1)
    benchmark.extra_info.update(result)
    used = f"{result['cpu_s']:.1f} s of one core, peak {result['peak_gib']:.2f} GiB"
    print(f"split {split}, masks {masks}: {used}")
    # the made-up files come to the published counts, so every split has been checked
    assert all(result["complete"])
