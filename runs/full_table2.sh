#!/usr/bin/env bash
# Table 2 at full size: every method at its published defaults on mm-mergebench.
# DATA, BASE and ZOO (runs/full_train.sh) have to be set; OUT, ITEMS, and BENCH for more options, as
# BENCH="--ray auto" or BENCH=--dry-run, may be. A killed run goes on.
set -euo pipefail
out="${OUT:-full-out}"
read -ra more <<<"${BENCH:-}"
bench=(copamerge bench mm-mergebench --data "$DATA" --base "$BASE" --zoo "$ZOO" --modules-to-save mean ${ITEMS:+--items "$ITEMS"} --answers "$out/answers" "${more[@]}")
status=0 # 2 where a picture does not open or a model failed: results are there all the same
"${bench[@]}" --experiment table2 -o "$out/table2" || status=$?
if [[ -f "$out/table2/results.json" ]]; then copamerge report "$out/table2" -o "$out/report-table2" --overwrite; fi
exit "$status"
