#!/usr/bin/env bash
# Eight vision tasks with CLIP, trained, merged and evaluated; what tables 4 and 5 have in common.
# DATA (docs/clip8.md), BASE (the CLIP model, downloaded), ZOO (to be made) and EXPERIMENT have to
# be set; OUT, ITEMS, TRAIN and BENCH may be, as for runs/full_train.sh and runs/full_table2.sh.
# CHECK=skip goes on with data that are known not to be whole. A killed run goes on.
set -euo pipefail
out="${OUT:-full-out}"
read -ra recipe <<<"${TRAIN:-}"
read -ra more <<<"${BENCH:-}"
train=(copamerge train --suite clip8 --data "$DATA" --base "$BASE" -o "$ZOO" "${recipe[@]}")
if [[ "${CHECK:-}" != skip ]]; then copamerge data check --suite clip8 --root "$DATA"; fi
trained=0 # as in runs/full_train.sh
"${train[@]}" || trained=$?
if [[ $trained -ne 0 && ! ($trained -eq 2 && -f "$ZOO/manifest.json") ]]; then exit "$trained"; fi
"${train[@]}" --mtl || { trained=$?; [[ $trained -eq 2 && -d "$ZOO/mtl" ]] || exit "$trained"; }
bench=(copamerge bench clip8 --data "$DATA" --base "$BASE" --zoo "$ZOO" ${ITEMS:+--items "$ITEMS"} --answers "$out/answers" "${more[@]}")
status=$trained # 2 where a picture does not open or a model failed: results are there all the same
"${bench[@]}" --experiment "$EXPERIMENT" -o "$out/$EXPERIMENT" || status=$?
if [[ -f "$out/$EXPERIMENT/results.json" ]]; then copamerge report "$out/$EXPERIMENT" -o "$out/report-$EXPERIMENT" --overwrite; fi
exit "$status"
