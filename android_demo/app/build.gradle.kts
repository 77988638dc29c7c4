import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android)
    alias(libs.plugins.kotlin)
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
        ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }
    }
    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles("shrink.pro")
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    sourceSets["main"].assets.srcDir("../../web_demo/shaders") // the page's and the app's
    androidResources { noCompress += "tflite" }
    testOptions {
        unitTests {
            isIncludeAndroidResources = true
            all {
                it.systemProperty("golden", rootProject.file("build/golden").path)
                it.systemProperty("python", "python3")
            }
        }
    }
}

kotlin { compilerOptions { jvmTarget.set(JvmTarget.JVM_11) } }

dependencies {
    implementation(libs.litert)
    implementation(libs.litert.gpu)
    implementation(libs.litert.gpu.api)
    testImplementation(libs.junit)
    testImplementation(libs.json)
    testImplementation(libs.robolectric)
    testImplementation(libs.jna)
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
