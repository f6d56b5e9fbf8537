#!/usr/bin/env bash
# The first hour with your own data: every step of README.md. Stops at the first that is not as said there.
# Options go to check and launch: ./hour.sh --set rollout.port=0
set -euo pipefail
cd "$(dirname "$0")"
WAIT_S=${WAIT_S:-600}

says() { # says WORDS COMMAND ...: the command ends well, and prints WORDS
    "${@:2}" 2>&1 | tee said.txt
    grep -q -- "$1" said.txt || { echo "hour.sh: did not say '$1': ${*:2}" >&2; exit 1; }
}

until_said() { # until_said WORDS: the launch in the background prints WORDS
    timeout "$WAIT_S" grep -m1 -- "$1" < <(tail -n +1 -f --pid=$LAUNCH launch.txt) ||
        { echo "hour.sh: the launch did not say '$1':" >&2; cat launch.txt >&2; exit 1; }
}

echo "== data"
python make_data.py data
says "132 questions and 352 pictures checked" perl-rl check run.yaml "$@"

echo "== a run, seen from outside"
perl-rl launch run.yaml --run-dir runs/own "$@" > launch.txt 2>&1 &
LAUNCH=$!
trap 'kill $LAUNCH 2> /dev/null || true' EXIT
until_said "evaluation before training: 72 answers"
says "rollout-0  rollout  ready" perl-rl status --run-dir runs/own
NODE=$(awk '$3 == "rollout" {print $5}' said.txt)
says "boxed" python ask.py "$NODE/v1" own_data data/pictures/heldout-0-{0,1}.png

echo "== interrupted and resumed"
until_said "step 2/"
kill -INT $LAUNCH
ended=0
wait $LAUNCH || ended=$?
[ $ended = 130 ] || { echo "hour.sh: the launch ended with $ended:" >&2; cat launch.txt >&2; exit 1; }
says "interrupted at step" perl-rl status --run-dir runs/own
says "flip rate" perl-rl launch run.yaml --run-dir runs/own --resume "$@"
says "done, 12 steps" perl-rl status --run-dir runs/own

echo "== export, and evaluation of what was exported"
says "exported step 12 of" perl-rl export runs/own --out runs/model
python -m perl_rl.demo.benchmark data/benchmark
says "Mantis-Eval, 12 questions" perl-rl eval --benchmark mantis-eval --data data/benchmark --limit 12 \
    --model runs/model --config run.yaml --orders 6 --max-tokens 24 --out runs/eval.json

echo "hour.sh: every step was as said"
