#!/usr/bin/env bash
# Everything that needs a GPU: builds this checkout, checks every op and the inference form on the
# GPU, times them, and looks for accesses beyond memory, races and unwritten memory.
#
#   bash bench/device.sh                # all parts, as many as fit into TOTAL_SECONDS
#   bash bench/device.sh build ops      # some of: build ops bench_model bench_ops sanitize
#                                       #          bench_compiled
#
# Where a call may take ten minutes, three of them, one after the other on one machine:
#   bash bench/device.sh build ops bench_model
#   PART_SECONDS=350 bash bench/device.sh bench_ops sanitize
#   bash bench/device.sh bench_compiled            # torch.compile's max-autotune alone takes minutes
# On a fresh machine every call must begin with build.
#
# Leaves a log of each part, results.csv and summary.txt in $OUT (build/device/out if unset); no
# more than 8 files a call. Needs nvcc, ninja, pybind11 and a CUDA torch, no network, and installs
# nothing into the environment. Exits with 1 where a part failed or had no time left; the later
# parts run all the same, and benchmarks that are cut short keep the rows that they have.
# Variables: PYTHON (python3), TOTAL_SECONDS (570), PART_SECONDS, the most that a part may take (240;
# bench_compiled: all that is left).
# shellcheck disable=SC2317  # the parts are called through `bash -c`
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
OUT=${OUT:-$PWD/build/device/out}
SITE=$PWD/build/device/site
TOTAL_SECONDS=${TOTAL_SECONDS:-570}
PART_SECONDS=${PART_SECONDS:-240}
ROWS=bench/results.csv  # where the benchmarks append
mkdir -p "$OUT" "$SITE"
OUT=$(cd "$OUT" && pwd)
# The package that was just built, and not the checkout's folder of the same name.
export PYTHONPATH=$SITE PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
export INVAD_FAST_CUDA=1
FAILED=0

# part NAME: runs it into $OUT/NAME.log, prints a line and its last ones.
part() {
  local name=$1 started=$SECONDS left=$((TOTAL_SECONDS - SECONDS)) code
  ((left > PART_SECONDS)) && [[ $name != bench_compiled ]] && left=$PART_SECONDS
  if ((left < 20)); then
    echo "== $name: not run, no time left" | tee -a "$OUT/summary.txt"
    FAILED=1
    return
  fi
  LEFT=$left timeout --kill-after=10 "$left" bash -c "$name" >"$OUT/$name.log" 2>&1
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

# pytest that ends in order when its time is up, so that a benchmark's rows are written.
checked() {
  "$PYTHON" -c '
import signal, sys, pytest
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.default_int_handler)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))' "$@"
}

build() {
  local arch
  arch='import torch; print("%d%d" % torch.cuda.get_device_capability())'
  arch=${INVAD_FAST_CUDA_ARCHS:-$("$PYTHON" -c "$arch")}
  [[ -n $arch ]] || return 1
  rm -rf "$SITE"
  mkdir -p "$SITE" || return 1
  export INVAD_FAST_CUDA_ARCHS=$arch
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-build-isolation --target "$SITE" \
    --upgrade . || copied || return 1
  "$PYTHON" - <<'END'
from invad_fast.ops import implementations
from invad_fast.ops.dispatch import ops

for op in ops():
    print(op, implementations(op))
assert implementations("bias_leaky_relu")["cuda"] is None, "the CUDA library does not run"
END
}

# Where pip cannot build the package (a setuptools that is too old): the same files, put there.
copied() {
  echo "pip could not install it: copied instead"
  cp -r invad_fast "$SITE/" && rm -rf "$SITE/invad_fast/kernels" &&
    cp -r kernels "$SITE/invad_fast/" && "$PYTHON" - "$SITE/invad_fast" <<'END'
import pathlib, runpy, sys

import setuptools

setuptools.setup = lambda **options: None
work = pathlib.Path("build/native").resolve()
runpy.run_path("setup.py")["build_libraries"](pathlib.Path(sys.argv[1]), work)
END
}

# Every implementation that runs on the GPU, values and gradients, dtypes and layouts; the
# inference form and its graphs. Triton compiles for each shape: on several processes where it can.
ops() {
  local several=()
  "$PYTHON" -c "import xdist" 2>/dev/null && several=(-n 8)
  checked --durations=5 "${several[@]}" -k "not emulated and not another_process" \
    tests/test_ops.py tests/test_triton.py tests/test_anomaly_map.py tests/test_metrics_ops.py \
    tests/test_metrics_tensors.py tests/test_cuda_inference.py
}

# Small samples of every CUDA kernel. Without its cache torch gives each tensor memory of its own,
# so that one element too far is an error. initcheck also reports what torch's kernels do: only
# reports on ours, in the namespace invad, count there.
sanitize() {
  local tool code failed=0 log=$OUT/sanitize.log
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer was not found"; return 1; }
  for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool"
    code=3
    [[ $tool == initcheck ]] && code=0
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout $((LEFT / 4)) \
      compute-sanitizer --tool "$tool" --error-exitcode "$code" --print-limit 20 \
      "$PYTHON" tests/cuda_samples.py
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
  checked --benchmark-only bench/test_anomaly_map.py bench/test_metrics.py::test_on_a_gpu \
    bench/test_ops.py
}
bench_model() { checked --benchmark-only bench/test_model.py -k "not compiled"; }
bench_compiled() { checked --benchmark-only bench/test_model.py -k "compiled or grouped"; }

PARTS=(build ops bench_model bench_ops sanitize bench_compiled)
[[ $# -gt 0 ]] || set -- "${PARTS[@]}"
for each in "$@"; do
  [[ " ${PARTS[*]} " == *" $each "* ]] && continue
  echo "device.sh: no part $each: there are ${PARTS[*]}" >&2
  exit 2
done
export -f "${PARTS[@]}" copied checked
export PYTHON OUT SITE
: >"$OUT/summary.txt"
machine 2>&1 | tee -a "$OUT/summary.txt"
for each in "$@"; do part "$each"; done
[[ -f $ROWS ]] && cp "$ROWS" "$OUT/results.csv"
exit $FAILED
