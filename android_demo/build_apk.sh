#!/usr/bin/env bash
# Builds a signed APK without Google's SDK: Kotlin, r8 and TensorFlow Lite from Maven Central, the Android framework's
# classes from org.robolectric:android-all, aapt2, zipalign and apksigner from Debian.
#
#     android_demo/build_apk.sh [--release] [MODEL.tflite ...]      -> android_demo/build/pocketseg-{debug,release}.apk
#
# The release APK is shrunk and not debuggable. It is signed with the debug key unless KEYSTORE names a keystore
# (KEYSTORE_PASS its password, as apksigner's --ks-pass takes it).
set -euo pipefail
models=()
mode=debug
for model in "$@"; do
    if [ "$model" = --release ]; then mode=release; else models+=("$(realpath "$model")"); fi
done
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

# Short runs: the second compiler and a parallel collector would cost more than they give.
java="java -Xmx2g -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

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
    $java -cp "$(jars build/pieces/compiler/*.jar)" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler \
        -no-reflect -no-stdlib -jvm-target 11 -Werror -cp "$classpath" -d "$output" "$@"
}

# Resources, manifest and assets of a debug or release build -> $out/linked-MODE.apk
link() {
    local debuggable=()
    if [ "$1" = debug ]; then debuggable=(--debug-mode); fi
    # Debian's aapt2 is of Android 10 and does not know uses-native-library; it writes the element all the same.
    aapt2 link -I "$framework" --warn-manifest-validation --manifest "$out/AndroidManifest.xml" --java "$out/generated" \
        --proguard "$out/resources.pro" -A app/src/main/assets -A ../web_demo/shaders --min-sdk-version 26 --target-sdk-version 36 \
        --compile-sdk-version-code 36 --compile-sdk-version-name 16 --version-code 1 --version-name 1.0 \
        ${debuggable[@]+"${debuggable[@]}"} -0 .tflite -o "$out/linked-$1.apk" "$out/resources.zip" \
        2> >(grep -v 'unexpected element <uses-native-library>' >&2)
}

# Models, resources and classes, the same for both modes.
compile_app() {
    pieces compiler
    pieces app
    pieces framework
    rm -rf "$out"
    mkdir -p "$out"/{classes,generated}

    step "models"
    python3 copy_models.py ${models[@]+"${models[@]}"}

    step "resources"
    aapt2 compile --dir app/src/main/res -o "$out/resources.zip"
    # What Gradle takes from app/build.gradle.kts: the package and the numbers of link.
    sed -e 's/\${applicationId}/pocketseg.demo/' -e 's/<manifest /<manifest package="pocketseg.demo" /' \
        app/src/main/AndroidManifest.xml >"$out/AndroidManifest.xml"
    link debug

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
    (cd "$out/classes" && zip -q -r ../classes.jar .)
}

# package debug|release
package() {
    local root="$out/root-$1" abi rules=() archive
    mkdir -p "$root"
    step "dex, $1"
    if [ "$1" = debug ]; then
        $java -cp "$(echo build/pieces/compiler/r8-*.jar)" com.android.tools.r8.D8 --debug --min-api 26 \
            --lib build/pieces/framework/*.jar --output "$root" \
            "$out/classes.jar" build/pieces/app/*.jar "$out"/aar/*/classes.jar
    else
        link release
        for archive in "$out"/aar/*/proguard.txt; do rules+=(--pg-conf "$archive"); done
        $java -cp "$(echo build/pieces/compiler/r8-*.jar)" com.android.tools.r8.R8 --release --min-api 26 \
            --lib build/pieces/framework/*.jar --lib "$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")" \
            --pg-conf app/shrink.pro --pg-conf "$out/resources.pro" "${rules[@]}" --output "$root" \
            "$out/classes.jar" build/pieces/app/*.jar "$out"/aar/*/classes.jar >"$out/r8.txt" 2>&1 || {
            # Else it says of each class that its Kotlin is newer than this R8; what the names are for is not used here.
            grep -v 'kotlin.Metadata' "$out/r8.txt" >&2
            return 1
        }
    fi

    step "package and sign, $1"
    for abi in arm64-v8a armeabi-v7a x86_64; do
        mkdir -p "$root/lib/$abi"
        cp "$out"/aar/*/jni/"$abi"/*.so "$root/lib/$abi/"
    done
    cp "$out/linked-$1.apk" "$out/unaligned.apk"
    (cd "$root" && zip -q -r ../unaligned.apk .)
    zipalign -p -f 4 "$out/unaligned.apk" "build/pocketseg-$1.apk"
    if [ ! -f build/debug.keystore ]; then
        keytool -genkeypair -keystore build/debug.keystore -storepass android -alias debug -keyalg RSA -keysize 2048 \
            -validity 10000 -dname CN=debug >/dev/null 2>&1
    fi
    local keystore=build/debug.keystore password=pass:android
    if [ "$1" = release ] && [ -n "${KEYSTORE:-}" ]; then keystore=$KEYSTORE password=${KEYSTORE_PASS:-stdin}; fi
    apksigner sign --ks "$keystore" --ks-pass "$password" --min-sdk-version 26 "build/pocketseg-$1.apk"
    step "wrote android_demo/build/pocketseg-$1.apk, $(du -k "build/pocketseg-$1.apk" | cut -f1) KiB"
}

out=build/apk
# test.sh takes the functions above.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    compile_app
    package "$mode"
fi
