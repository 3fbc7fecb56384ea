#!/usr/bin/env bash
# The eight adapters and the multi-task adapter of mm-mergebench, with the published recipe.
# DATA (instructions/ and datasets/), BASE (as llava-hf/llava-1.5-7b-hf, downloaded) and ZOO (to be
# made) have to be set; TRAIN adds options, as TRAIN="--rank 128"; CHECK=skip goes on with data that
# are known not to be whole. A killed run goes on.
# On several GPUs: LAUNCH="accelerate launch --num_processes 8 -m copamerge" runs/full_train.sh
set -euo pipefail
read -ra launch <<<"${LAUNCH:-copamerge}"
read -ra more <<<"${TRAIN:-}"
train=("${launch[@]}" train --suite mm-mergebench --data "$DATA" --base "$BASE" -o "$ZOO" "${more[@]}")
if [[ "${CHECK:-}" != skip ]]; then copamerge data check --suite mm-mergebench --root "$DATA"; fi
# 2 with a manifest: all are trained, on what could be opened. The other adapter is trained, too.
status=0
"${train[@]}" || status=$?
if [[ $status -ne 0 && ! ($status -eq 2 && -f "$ZOO/manifest.json") ]]; then exit "$status"; fi
"${train[@]}" --mtl
exit "$status"
