plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "dev.prebake.sample"
    compileSdk = 35
    defaultConfig {
        applicationId = "dev.prebake.sample"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "0.1"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions.jvmTarget = "11"
    // The program must lie in a file of its own: it is started, not loaded.
    packaging.jniLibs.useLegacyPackaging = true
}

dependencies {
    implementation(project(":prebake-android"))
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
}
