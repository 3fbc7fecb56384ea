#!/usr/bin/env bash
# The eight adapters and the multi-task adapter of mm-mergebench, with the published recipe.
# DATA (instructions/ and datasets/), BASE (as llava-hf/llava-1.5-7b-hf, downloaded) and ZOO (to be
# made) have to be set; TRAIN adds options, as TRAIN="--rank 128". A killed run goes on.
# On several GPUs: LAUNCH="accelerate launch --num_processes 8 -m copamerge" runs/full_train.sh
set -euo pipefail
read -ra launch <<<"${LAUNCH:-copamerge}"
read -ra more <<<"${TRAIN:-}"
train=("${launch[@]}" train --suite mm-mergebench --data "$DATA" --base "$BASE" -o "$ZOO" "${more[@]}")
copamerge data check --suite mm-mergebench --root "$DATA"
"${train[@]}"
"${train[@]}" --mtl
