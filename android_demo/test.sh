#!/usr/bin/env bash
# Builds the APK, runs the JVM tests of its sources and checks the APK. Ends with "N passed, N failed".
#
#     android_demo/test.sh [MODEL.tflite ...]          PYTHON=... names the project's Python (golden vectors)
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/build_apk.sh"
python=${PYTHON:-python3}

build

step "golden vectors"
TF_CPP_MIN_LOG_LEVEL=3 "$python" golden.py 2>/dev/null

step "JVM tests"
pieces test
pieces test-framework
out=build/test
rm -rf "$out"
mkdir -p "$out/classes/com/android/tools"
# The resources of the APK itself, for Robolectric.
cat >"$out/classes/com/android/tools/test_config.properties" <<EOF
android_resource_apk=$PWD/build/apk/linked.apk
android_merged_manifest=$PWD/build/apk/AndroidManifest.xml
android_merged_assets=$PWD/app/src/main/assets
android_custom_package=pocketseg.demo
EOF
mkdir -p "$out/aar"
for archive in build/pieces/test/*.aar; do unzip -qo "$archive" classes.jar -d "$out/aar/$(basename "$archive")"; done
libraries="build/apk/classes:$(jars build/pieces/app/*.jar build/apk/aar/*/classes.jar build/pieces/test/*.jar "$out"/aar/*/classes.jar)"
running="$libraries$(jars build/pieces/test-framework/*.jar)" # whose classes Java 17 can load, unlike those of API 36
compile "$libraries$(jars build/pieces/framework/*.jar)" "$out/classes" app/src/test/kotlin
classes=$(cd app/src/test/kotlin && grep -l '@Test' pocketseg/*.kt | sed 's/\.kt$//; s/\//./g')
set +e
# shellcheck disable=SC2086
java -Xmx2g --add-opens java.base/java.io=ALL-UNNAMED -Dgolden=build/golden -Dscreenshots=build/screenshots -Drobolectric.offline=true \
    -Drobolectric.dependency.dir="$PWD/build/pieces/test-framework" -cp "$out/classes:$running" \
    org.junit.runner.JUnitCore $classes >"$out/junit.txt" 2>"$out/junit-errors.txt"
set -e
grep -vE '^\s+at (org\.junit|java\.base|jdk\.|org\.robolectric)|^\s+\.\.\. |^$' "$out/junit.txt" | head -100
if grep -q '^OK (' "$out/junit.txt"; then
    failed=0
    passed=$(sed -n 's/^OK (\([0-9]*\) test.*/\1/p' "$out/junit.txt")
elif grep -q '^Tests run:' "$out/junit.txt"; then
    failed=$(sed -n 's/^Tests run: .*Failures: \([0-9]*\).*/\1/p' "$out/junit.txt")
    passed=$(($(sed -n 's/^Tests run: \([0-9]*\),.*/\1/p' "$out/junit.txt") - failed))
else
    tail -20 "$out/junit-errors.txt"
    failed=1
    passed=0
fi

step "the APK"
pieces oldest-framework
set +e
python3 check_apk.py build/pocketseg-debug.apk | tee "$out/apk.txt"
set -e
passed=$((passed + $(grep -c '^ok ' "$out/apk.txt" || true)))
failed=$((failed + $(grep -c '^FAILED ' "$out/apk.txt" || true)))
grep -q '^ok ' "$out/apk.txt" || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
