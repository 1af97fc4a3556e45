plugins {
    id("org.jetbrains.kotlin.jvm")
}

kotlin {
    compilerOptions.jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_11)
}

java {
    targetCompatibility = JavaVersion.VERSION_11
}

dependencies {
    api(project(":prebake-vm"))
}
