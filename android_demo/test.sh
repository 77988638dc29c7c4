#!/usr/bin/env bash
# Builds the APK, runs the JVM tests of its sources and checks the APK. Ends with "N passed, N failed".
#
#     android_demo/test.sh [MODEL.tflite ...]          PYTHON=... names the project's Python (golden vectors)
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/build_apk.sh"
python=${PYTHON:-python3}

# Before the minutes of building, not after.
if ! missing=$("$python" -c "import cv2, keras" 2>&1); then
    echo "error: the golden vectors need the project's Python: $(tail -n 1 <<<"$missing")." \
        "Name it: PYTHON=/path/to/venv/bin/python android_demo/test.sh" >&2
    exit 2
fi

compile_app
package debug
package release

step "golden vectors"
if ! TF_CPP_MIN_LOG_LEVEL=3 "$python" golden.py 2>build/golden-errors.txt; then
    tail -n 20 build/golden-errors.txt >&2
    echo "error: golden.py failed" >&2
    exit 1
fi

step "JVM tests"
pieces test
pieces test-framework
tests=build/test
rm -rf "$tests"
mkdir -p "$tests/classes/com/android/tools"
# The resources of the APK itself, for Robolectric.
cat >"$tests/classes/com/android/tools/test_config.properties" <<EOF
android_resource_apk=$PWD/build/apk/linked-debug.apk
android_merged_manifest=$PWD/build/apk/AndroidManifest.xml
android_merged_assets=$PWD/app/src/main/assets
android_custom_package=pocketseg.demo
EOF
mkdir -p "$tests/aar"
for archive in build/pieces/test/*.aar; do unzip -qo "$archive" classes.jar -d "$tests/aar/$(basename "$archive")"; done
libraries="build/apk/classes:$(jars build/pieces/app/*.jar build/apk/aar/*/classes.jar build/pieces/test/*.jar "$tests"/aar/*/classes.jar)"
running="$libraries$(jars build/pieces/test-framework/*.jar)" # whose classes Java 17 can load, unlike those of API 36
compile "$libraries$(jars build/pieces/framework/*.jar)" "$tests/classes" app/src/test/kotlin
echo "$tests/classes:$running" >"$tests/classpath.txt" # for benchmarks.drawing
classes=$(cd app/src/test/kotlin && grep -l '@Test' pocketseg/*.kt | sed 's/\.kt$//; s/\//./g')
set +e
# shellcheck disable=SC2086
$java --add-opens java.base/java.io=ALL-UNNAMED -Dgolden=build/golden -Dscreenshots=build/screenshots -Dpython="$python" -Drobolectric.offline=true \
    -Drobolectric.dependency.dir="$PWD/build/pieces/test-framework" -cp "$tests/classes:$running" \
    org.junit.runner.JUnitCore $classes >"$tests/junit.txt" 2>"$tests/junit-errors.txt"
set -e
grep -vE '^\s+at (org\.junit|java\.base|jdk\.|org\.robolectric)|^\s+\.\.\. |^OpenGL, |^$' "$tests/junit.txt" | tail -100 # failures come last
if grep -q '^OK (' "$tests/junit.txt"; then
    failed=0
    passed=$(sed -n 's/^OK (\([0-9]*\) test.*/\1/p' "$tests/junit.txt")
elif grep -q '^Tests run:' "$tests/junit.txt"; then
    failed=$(sed -n 's/^Tests run: .*Failures: \([0-9]*\).*/\1/p' "$tests/junit.txt")
    passed=$(($(sed -n 's/^Tests run: \([0-9]*\),.*/\1/p' "$tests/junit.txt") - failed))
else
    tail -20 "$tests/junit-errors.txt"
    failed=1
    passed=0
fi

step "the APK"
pieces oldest-framework
set +e
python3 check_apk.py build/pocketseg-debug.apk build/pocketseg-release.apk | tee "$tests/apk.txt"
set -e
passed=$((passed + $(grep -c '^ok ' "$tests/apk.txt" || true)))
failed=$((failed + $(grep -c '^FAILED ' "$tests/apk.txt" || true)))
grep -q '^ok ' "$tests/apk.txt" || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
