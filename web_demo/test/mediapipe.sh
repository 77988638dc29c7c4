#!/usr/bin/env bash
# MediaPipe's segmenter beside this page for the benchmark, into web_demo/build/mediapipe: the page's package from npm,
# the model out of MediaPipe's Python package (the npm package ships none). Nothing of it is built into the page.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/mediapipe && cd build/mediapipe
npm pack --silent @mediapipe/tasks-vision@1.1.0 | xargs tar xzf
pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 mediapipe==0.10.21
python3 -m zipfile -e mediapipe-*.whl wheel
cp wheel/mediapipe/modules/selfie_segmentation/*.tflite .
rm -r wheel ./*.whl ./*.tgz
