#!/usr/bin/env bash
# Builds a signed debug APK without Google's SDK: Kotlin, r8 (D8) and TensorFlow Lite from Maven Central, the Android
# framework's classes from org.robolectric:android-all, aapt2, zipalign and apksigner from Debian.
#
#     android_demo/build_apk.sh [MODEL.tflite ...]      -> android_demo/build/pocketseg-debug.apk
set -euo pipefail
models=()
for model in "$@"; do models+=("$(realpath "$model")"); done
cd "$(dirname "${BASH_SOURCE[0]}")"

missing=()
for tool in java javac keytool mvn python3 aapt2 zipalign apksigner zip unzip; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
framework=/usr/share/android-framework-res/framework-res.apk
[ -f "$framework" ] || missing+=(framework-res.apk)
if [ ${#missing[@]} -gt 0 ]; then
    echo "error: missing: ${missing[*]}. On Debian or Ubuntu: apt-get install openjdk-17-jdk-headless maven python3 zip" \
        "unzip aapt zipalign apksigner android-framework-res" >&2
    exit 2
fi

step() { echo "[$(date +%T)] $*"; }

# Fetches the pieces of one profile of pom.xml, again only when pom.xml changed.
pieces() {
    if [ ! -f "build/pieces/$1/.done" ] || [ pom.xml -nt "build/pieces/$1/.done" ]; then
        step "fetching the pieces for: $1"
        rm -rf "build/pieces/$1"
        mvn -q -B -Dstyle.color=never -P "$1" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
            -DoutputDirectory="$PWD/build/pieces/$1"
        touch "build/pieces/$1/.done"
    fi
}

jars() { printf '%s:' "$@"; }

# compile CLASSPATH OUTPUT SOURCES...
compile() {
    local classpath=$1 output=$2
    shift 2
    java -Xmx2g -cp "$(jars build/pieces/compiler/*.jar)" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler \
        -no-reflect -no-stdlib -jvm-target 11 -Werror -cp "$classpath" -d "$output" "$@"
}

build() {
    pieces compiler
    pieces app
    pieces framework
    local out=build/apk
    rm -rf "$out"
    mkdir -p "$out"/{classes,dex,generated,root}

    step "models"
    python3 copy_models.py ${models[@]+"${models[@]}"}

    step "resources"
    aapt2 compile --dir app/src/main/res -o "$out/resources.zip"
    # What Gradle takes from app/build.gradle.kts: the package and the numbers below.
    sed -e 's/\${applicationId}/pocketseg.demo/' -e 's/<manifest /<manifest package="pocketseg.demo" /' \
        app/src/main/AndroidManifest.xml >"$out/AndroidManifest.xml"
    aapt2 link -I "$framework" --manifest "$out/AndroidManifest.xml" --java "$out/generated" -A app/src/main/assets \
        --min-sdk-version 26 --target-sdk-version 36 --compile-sdk-version-code 36 --compile-sdk-version-name 16 \
        --version-code 1 --version-name 1.0 --debug-mode -0 .tflite -o "$out/linked.apk" "$out/resources.zip"

    step "Kotlin"
    local archive name
    for archive in build/pieces/app/*.aar; do
        name=$(basename "$archive" .aar)
        mkdir -p "$out/aar/$name"
        unzip -qo "$archive" -d "$out/aar/$name"
    done
    javac --release 11 -d "$out/classes" "$out/generated/pocketseg/demo/R.java"
    local libraries
    libraries=$(jars build/pieces/app/*.jar "$out"/aar/*/classes.jar)
    compile "$out/classes:$libraries$(jars build/pieces/framework/*.jar)" "$out/classes" app/src/main/kotlin

    step "dex"
    (cd "$out/classes" && zip -q -r ../classes.jar .)
    java -Xmx2g -cp "$(echo build/pieces/compiler/r8-*.jar)" com.android.tools.r8.D8 --debug --min-api 26 \
        --lib build/pieces/framework/*.jar --output "$out/root" \
        "$out/classes.jar" build/pieces/app/*.jar "$out"/aar/*/classes.jar

    step "package and sign"
    local abi
    for abi in arm64-v8a x86_64; do
        mkdir -p "$out/root/lib/$abi"
        cp "$out"/aar/*/jni/"$abi"/*.so "$out/root/lib/$abi/"
    done
    cp "$out/linked.apk" "$out/unaligned.apk"
    (cd "$out/root" && zip -q -r ../unaligned.apk .)
    zipalign -p -f 4 "$out/unaligned.apk" build/pocketseg-debug.apk
    if [ ! -f build/debug.keystore ]; then
        keytool -genkeypair -keystore build/debug.keystore -storepass android -alias debug -keyalg RSA -keysize 2048 \
            -validity 10000 -dname CN=debug >/dev/null 2>&1
    fi
    apksigner sign --ks build/debug.keystore --ks-pass pass:android --min-sdk-version 26 build/pocketseg-debug.apk
    step "wrote android_demo/build/pocketseg-debug.apk, $(du -k build/pocketseg-debug.apk | cut -f1) KiB"
}

# test.sh takes the functions above.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then build; fi
