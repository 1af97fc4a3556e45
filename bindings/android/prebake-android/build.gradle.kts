plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "dev.prebake.android"
    compileSdk = 35
    defaultConfig {
        minSdk = 26
        consumerProguardFiles("proguard.txt")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    kotlinOptions.jvmTarget = "11"
    // `make apps` puts the program there.
    sourceSets["main"].jniLibs.srcDir("../../../target/apps/jniLibs")
}

dependencies {
    api(project(":prebake-vm"))
    api(project(":container-registry"))
}
