// swift-tools-version:5.10
import PackageDescription

let package = Package(
    name: "Prebake",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [.library(name: "Prebake", targets: ["Prebake"])],
    targets: [
        // The library for C, as `make c` installs it.
        .systemLibrary(name: "CPrebake", pkgConfig: "prebake"),
        .target(name: "Prebake", dependencies: ["CPrebake"]),
        .executableTarget(name: "prompt", dependencies: ["Prebake"], path: "Examples/prompt"),
        .executableTarget(name: "scenario", dependencies: ["Prebake"], path: "Tests/scenario"),
    ]
)
