#!/usr/bin/env bash
# Everything that needs a GPU, in one call: builds this checkout, checks every op on the GPU against
# the reference, times it, and looks for accesses beyond memory, races and unwritten memory.
#
#   bash bench/device.sh                # all parts, some 10 minutes
#   bash bench/device.sh build ops      # some of: build ops sanitize bench_ops bench_model
#                                       # bench_metrics
#
# Leaves a log of each part, results.csv and summary.txt in $OUT (build/device/out if unset); no
# more than 8 files. Needs nvcc, ninja, pybind11 and a CUDA torch, no network, and installs nothing
# into the environment. Exits with 1 where a part failed; the later parts run all the same.
# Variables: PYTHON (python3), PART_SECONDS, the most that a part may take (240).
# shellcheck disable=SC2317  # the parts are called through `bash -c`
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
OUT=${OUT:-$PWD/build/device/out}
SITE=$PWD/build/device/site
PART_SECONDS=${PART_SECONDS:-240}
mkdir -p "$OUT" "$SITE"
OUT=$(cd "$OUT" && pwd)
# The package that was just built, and not the checkout's folder of the same name.
export PYTHONPATH=$SITE PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
export INVAD_FAST_CUDA=1
FAILED=0

# part NAME COMMAND...: runs it into $OUT/NAME.log, prints a line and its last ones.
part() {
  local name=$1 started=$SECONDS code
  shift
  timeout "$PART_SECONDS" "$@" >"$OUT/$name.log" 2>&1
  code=$?
  tail -n 5 "$OUT/$name.log"
  echo "== $name: exit $code after $((SECONDS - started)) s" | tee -a "$OUT/summary.txt"
  ((code == 0)) || FAILED=1
}

machine() {
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
  nvcc --version | tail -n 2
  "$PYTHON" -c 'import torch, sys; print("Python", sys.version.split()[0], "torch", torch.__version__,
    torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")'
}

build() {
  local arch
  arch='import torch; print("%d%d" % torch.cuda.get_device_capability())'
  arch=${INVAD_FAST_CUDA_ARCHS:-$("$PYTHON" -c "$arch")}
  [[ -n $arch ]] || return 1
  rm -rf "$SITE"
  mkdir -p "$SITE" || return 1
  INVAD_FAST_CUDA_ARCHS=$arch "$PYTHON" -m pip install --quiet --no-index --no-deps \
    --no-build-isolation --target "$SITE" --upgrade . || return 1
  "$PYTHON" - <<'END'
from invad_fast.ops import implementations
from invad_fast.ops.dispatch import ops

for op in ops():
    print(op, implementations(op))
assert implementations("bias_leaky_relu")["cuda"] is None, "the CUDA library does not run"
END
}

# Every implementation that runs on the GPU, values and gradients, dtypes and layouts.
ops() {
  "$PYTHON" -m pytest -q -p no:cacheprovider --durations=5 tests/test_ops.py tests/test_triton.py \
    tests/test_metrics_tensors.py
}

# Small samples of every CUDA kernel. Without its cache torch gives each tensor memory of its own,
# so that one element too far is an error. initcheck also reports what torch's kernels do: only
# reports on ours, in the namespace invad, count there.
sanitize() {
  local tool code failed=0 log=$OUT/sanitize.log
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer was not found"; return 1; }
  cat >"$SITE/device_samples.py" <<'END'
import sys

import torch

sys.path.insert(0, "tests")
from op_cases import VARIANTS, available, samples

for title, variant in VARIANTS.items():
    if "cuda" not in available(variant.op):
        continue
    for shape in ((2, 3, 5, 7), (2, 16, 8, 4)):
        for dtype in (torch.float32, torch.bfloat16):
            layouts = ("channels first", "channels last")
            for _, sample in samples(
                variant, shape, dtype, layouts=layouts, values=("usual",), device="cuda"
            ):
                sample.gradients("cuda")
    torch.cuda.synchronize()
    print(title, flush=True)
END
  for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool"
    code=3
    [[ $tool == initcheck ]] && code=0
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout $((PART_SECONDS / 4)) \
      compute-sanitizer --tool "$tool" --error-exitcode "$code" --print-limit 20 \
      "$PYTHON" "$SITE/device_samples.py"
    echo "exit $?"
  done
  # All of this goes to the log: read it back, through variables, as grep refuses its own output.
  code=$(grep -E "^== |SUMMARY|^exit" "$log")
  echo "$code"
  grep -qE "^exit [^0]" "$log" && failed=1
  code=$(grep -E "^========= +(at|in) .*invad" "$log") && failed=1
  echo "$code"
  return "$failed"
}

bench_ops() {
  "$PYTHON" -m pytest -q -p no:cacheprovider --benchmark-only bench/test_ops.py
}

bench_model() {
  "$PYTHON" -m pytest -q -p no:cacheprovider --benchmark-only bench/test_model.py
}

# The metrics' figures on the GPU, equal to the host's, and their memory there.
bench_metrics() {
  "$PYTHON" -m pytest -q -p no:cacheprovider --benchmark-only bench/test_metrics.py -k on_a_gpu
}

PARTS=(build ops sanitize bench_ops bench_model bench_metrics)
[[ $# -gt 0 ]] || set -- "${PARTS[@]}"
export -f "${PARTS[@]}"
export PYTHON OUT SITE PART_SECONDS
: >"$OUT/summary.txt"
machine 2>&1 | tee -a "$OUT/summary.txt"
for each in "$@"; do
  case $each in
    build | ops | sanitize | bench_ops | bench_model | bench_metrics) part "$each" bash -c "$each" ;;
    *)
      echo "device.sh: no part $each: ${PARTS[*]}" >&2
      exit 2
      ;;
  esac
done
[[ -f bench/results.csv ]] && cp bench/results.csv "$OUT/results.csv"
exit $FAILED
