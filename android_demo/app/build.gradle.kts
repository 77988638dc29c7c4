import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "pocketseg.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "pocketseg.demo"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    androidResources { noCompress += "tflite" }
    testOptions {
        unitTests {
            isIncludeAndroidResources = true
            all { it.systemProperty("golden", rootProject.file("build/golden").path) }
        }
    }
}

kotlin { compilerOptions { jvmTarget.set(JvmTarget.JVM_11) } }

dependencies {
    // 1.4 keeps the package and the Interpreter of TensorFlow Lite, and its libraries are aligned to 16 KB pages.
    implementation("com.google.ai.edge.litert:litert:1.4.2")
    implementation("com.google.ai.edge.litert:litert-gpu:1.4.2")
    implementation("com.google.ai.edge.litert:litert-gpu-api:1.4.2")
    testImplementation("junit:junit:4.13.2")
    testImplementation("org.json:json:20250517") // the JVM has none
    testImplementation("org.robolectric:robolectric:4.16")
}

/** The presets become assets: train, convert into keras_models/presets, build. */
val copyModels by tasks.registering(Exec::class) {
    workingDir = rootDir
    commandLine("python3", "copy_models.py")
}
tasks.named("preBuild") { dependsOn(copyModels) }

/** The golden vectors need the project's Python environment. */
val golden by tasks.registering(Exec::class) {
    workingDir = rootDir
    commandLine("python3", "golden.py")
}
tasks.withType<Test>().configureEach { dependsOn(golden) }
