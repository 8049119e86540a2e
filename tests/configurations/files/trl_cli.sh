#!/usr/bin/env bash
set -euo pipefail
BETA=${BETA:-0.2}
trl dpo --config trl_cli.yaml \
    --beta $BETA \
    --label_smoothing 0.1 \
    --output_dir out/ipo
