#!/usr/bin/env bash
# fuzz.sh TARGET CORPUS: runs a fuzz target on its kept corpus and then on inputs that it makes from
# it, for some seconds; for a quarter of an hour with OUTSEAL_SOAK. An input that fails is left in
# the folder of TARGET as crash-...; "TARGET FILE" repeats it. Keep it in CORPUS once it is mended.
set -euo pipefail
target=$1 corpus=$2
seconds=${OUTSEAL_FUZZ_SECONDS:-4}
[[ -z ${OUTSEAL_SOAK:-} ]] || seconds=900
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/found" "$work/tmp"
# Some targets write files; in memory that is faster.
TMPDIR=$work/tmp
[[ -w /dev/shm ]] && TMPDIR=/dev/shm
export TMPDIR

"$target" "$corpus"/* -timeout=20 >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=16384 \
  -print_final_stats=1 -seed="${OUTSEAL_SEED:-0}" -artifact_prefix="$(dirname "$target")/" \
  "$work/found" "$corpus" \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
grep -E 'INFO: Seed|number_of_executed_units' "$work/log"
