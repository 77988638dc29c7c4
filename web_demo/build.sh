#!/usr/bin/env bash
# Build the page into web_demo/dist, with every preset and the models named: web_demo/build.sh [MODEL.tflite ...]
set -euo pipefail
models=()
for model in "$@"; do models+=("$(realpath "$model")"); done
cd "$(dirname "$0")"
npm ci --loglevel=error
npm run --silent build -- -- "${models[@]}"
echo "Serve it: python -m http.server --directory web_demo/dist"
