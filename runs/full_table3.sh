#!/usr/bin/env bash
# Table 3 at full size: POPE, MME and MMBench, asked of the models of Table 2.
# DATA (as docs/suites.md has it), BASE and ZOO (runs/full_train.sh) have to be set; OUT, ITEMS and
# BENCH may be, as for runs/full_table2.sh. A killed run goes on.
set -euo pipefail
out="${OUT:-full-out}"
read -ra more <<<"${BENCH:-}"
bench=(copamerge bench mm-general --data "$DATA" --base "$BASE" --zoo "$ZOO" --modules-to-save mean ${ITEMS:+--items "$ITEMS"} --answers "$out/answers" "${more[@]}")
status=0 # 2 where a picture does not open or a model failed: results are there all the same
"${bench[@]}" --experiment table3 -o "$out/table3" || status=$?
if [[ -f "$out/table3/results.json" ]]; then copamerge report "$out/table3" -o "$out/report-table3" --overwrite; fi
exit "$status"
