#!/bin/sh
# A whole round, from nothing to a scored table: `make demo`, or `sh examples/demo.sh DIR` where palladion is installed.
set -eu
out=${1:-demo}
seed=${SEED:-2020}
round=$out/round-1-seed-$seed

echo "== 12 models to learn from and 12 to be tested on, half of them poisoned"
palladion round build round-1 --out "$round" --train 12 --test 12 --holdout 0 --seed "$seed"
palladion round check "$round"

echo "== a detector that always answers 0.5"
palladion evaluate constant --round "$round" --split test --json "$out/constant.json"

echo "== trigger inversion, configured on the train split"
palladion evaluate inversion --round "$round" --split test --json "$out/inversion.json"

echo "== both beside the goal of the round"
palladion score compare "$out/constant.json" "$out/inversion.json"
