import CPrebake
import Foundation

/// Images and sessions in a folder, and machines that run from them in this process.
///
/// ```swift
/// let prebake = try Prebake(folder: URL.applicationSupportDirectory.appending(path: "machines"))
/// let machine = try prebake.start(.init(image: "docker.io/library/alpine", terminal: .init()))
/// try await machine.write("uname -a\n")
/// for await chunk in machine.output { print(chunk) }
/// ```
public final class Prebake: @unchecked Sendable {
    /// The library says of it that several threads may use it at a time.
    let handle: OpaquePointer

    /// Opens the images and sessions below `folder`, which has all that is written. Several programs may have the same folder open.
    ///
    /// - Parameters:
    ///   - shipped: The folder with `machine.wasm`, `vmlinux` and `initramfs.cpio`. Without it, only pre-baked images can be run.
    ///   - authorities: A file with certificates (PEM) that are trusted besides those of this host.
    ///   - credentials: A file with credentials for registries, as docker and podman write it.
    ///   - plainHTTP: Reaches registries without TLS.
    public init(
        folder: URL, shipped: URL? = nil, authorities: URL? = nil, credentials: URL? = nil, plainHTTP: Bool = false
    ) throws {
        let opened = try folder.path.withCString { folder in
            try shipped.withPath { shipped in
                try authorities.withPath { authorities in
                    try credentials.withPath { credentials in
                        var options = prebake_options(
                            folder: folder, shipped: shipped, authorities: authorities, credentials: credentials,
                            plain_http: plainHTTP)
                        return try PrebakeError.check { prebake_open(&options, $0) }
                    }
                }
            }
        }
        handle = opened!
    }

    deinit { prebake_close(handle) }

    /// The version of prebake.
    public static var version: String { String(cString: prebake_version()) }

    /// How far something has come.
    public struct Progress: Sendable, Hashable {
        /// What is being done: `pull`, `unpack-snapshot`, `compile`, `boot` and so on.
        public let task: String
        public let done: UInt64
        /// `nil` if nobody knows.
        public let total: UInt64?
        /// The task has ended, with success or not.
        public let hasEnded: Bool

        public var fraction: Double? { total.map { Double(done) / Double(max($0, 1)) } }

        init(_ progress: prebake_progress) {
            task = String(cString: progress.task)
            done = progress.done
            total = progress.total == 0 ? nil : progress.total
            hasEnded = progress.ended
        }
    }

    /// Hears how far something has come.
    public typealias OnProgress = @Sendable (Progress) -> Void

    /// The files of a machine. They belong together, and stay in the store while this is there.
    public final class Artifacts: @unchecked Sendable {
        private let handle: OpaquePointer
        /// The machine.
        public let machine: URL
        /// How it stood once it had booted; `nil` if the image was not pre-baked.
        public let snapshot: URL?
        /// The reference in full.
        public let reference: String
        /// Names this version of the image for ever.
        public let digest: String

        init(_ handle: OpaquePointer) {
            self.handle = handle
            machine = URL(fileURLWithPath: String(cString: prebake_artifacts_machine(handle)))
            snapshot = prebake_artifacts_snapshot(handle).map { URL(fileURLWithPath: String(cString: $0)) }
            reference = String(cString: prebake_artifacts_reference(handle))
            digest = String(cString: prebake_artifacts_digest(handle))
        }

        deinit { prebake_artifacts_free(handle) }
    }

    /// Makes sure that what `reference` names now is in the store, every byte of it verified.
    ///
    /// It asks the registry, which is one small question if nothing has changed; if the registry cannot be reached, what was pulled before is
    /// returned. Cancelling the task gives up the download and keeps what has come; the next call goes on from there.
    ///
    /// - Parameters:
    ///   - offline: Asks no registry.
    ///   - verifyKey: A public key (PEM) that must have signed the image.
    ///   - onProgress: Called several times a second at most, on a thread of prebake's.
    public func ensure(
        _ reference: String, offline: Bool = false, verifyKey: String? = nil,
        onProgress: OnProgress? = nil
    ) async throws -> Artifacts {
        let token = CancelToken()
        return try await withTaskCancellationHandler {
            try await blocking {
                let listener = Box(onProgress)
                let found = try verifyKey.withText { key in
                    var options = prebake_ensure_options(
                        offline: offline, verify_key: key,
                        on_progress: { Box<OnProgress?>.at($0!).value?(Progress($1!.pointee)) },
                        user: listener.address, cancel: token.handle)
                    return try withExtendedLifetime(listener) {
                        try PrebakeError.check { prebake_ensure(self.handle, reference, &options, $0) }
                    }
                }
                return Artifacts(found!)
            }
        } onCancel: {
            token.cancel()
        }
    }

    /// An image in the store.
    public struct Image: Sendable, Hashable {
        public let reference: String
        public let digest: String
        /// The processor of its native code, or `wasm`.
        public let target: String
        public let machineBytes: UInt64
        public let snapshotBytes: UInt64?
        public let pulled: Date

        init(_ image: prebake_image) {
            reference = String(cString: image.reference)
            digest = String(cString: image.digest)
            target = String(cString: image.target)
            machineBytes = image.machine_bytes
            snapshotBytes = image.snapshot_bytes == 0 ? nil : image.snapshot_bytes
            pulled = Date(timeIntervalSince1970: TimeInterval(image.pulled))
        }
    }

    /// The images in the store, by reference.
    public func images() async throws -> [Image] {
        try await blocking {
            let found = Box<[Image]>([])
            _ = try PrebakeError.check {
                prebake_images(self.handle, { Box<[Image]>.at($0!).value.append(Image($1!.pointee)) }, found.address, $0)
            }
            return found.value
        }
    }

    /// What was done in a machine, and is kept.
    public struct Session: Sendable, Hashable {
        public let name: String
        /// The reference, or the file, that it is of.
        public let subject: String
        public let began: Date
        /// `nil` if it was never saved.
        public let saved: Date?
        public let bytes: UInt64
        public let isRunning: Bool

        init(_ session: prebake_session) {
            name = String(cString: session.name)
            subject = String(cString: session.of)
            began = Date(timeIntervalSince1970: TimeInterval(session.began))
            saved = session.kept == 0 ? nil : Date(timeIntervalSince1970: TimeInterval(session.kept))
            bytes = session.bytes
            isRunning = session.running
        }
    }

    /// The sessions, by name.
    public func sessions() async throws -> [Session] {
        try await blocking {
            let found = Box<[Session]>([])
            _ = try PrebakeError.check {
                prebake_sessions(self.handle, { Box<[Session]>.at($0!).value.append(Session($1!.pointee)) }, found.address, $0)
            }
            return found.value
        }
    }

    /// Ends a session for good.
    public func removeSession(named name: String) async throws {
        _ = try await blocking { try PrebakeError.check { prebake_session_remove(self.handle, name, $0) } }
    }

    /// What was removed from the store.
    public struct Pruned: Sendable, Hashable {
        public let files: UInt64
        public let bytes: UInt64
        /// Files that were not removed, since they are in use.
        public let inUse: UInt64
    }

    /// Forgets the image of `reference`, if one is given, and removes every file that no other image, no session and no machine needs.
    @discardableResult
    public func prune(forgetting reference: String? = nil) async throws -> Pruned {
        try await blocking {
            var pruned = prebake_pruned()
            _ = try reference.withText { text in
                try PrebakeError.check { prebake_prune(self.handle, text, &pruned, $0) }
            }
            return Pruned(files: pruned.files, bytes: pruned.bytes, inUse: pruned.in_use)
        }
    }

    /// Starts a machine. What it has to fetch or to boot happens while it runs: see ``Machine/progress``.
    ///
    /// Throws if the specification cannot be; what fails later is in ``Machine/end``.
    public func start(_ specification: Machine.Specification) throws -> Machine {
        try Machine(self, specification)
    }
}
