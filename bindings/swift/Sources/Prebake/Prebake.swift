import CPrebake
import Foundation

/// A folder of images and sessions, and the machines of this process.
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

    /// Opens a folder of images and sessions, and creates it if necessary. Everything that prebake writes is in this folder. Several programs can open the same folder at
    /// a time.
    ///
    /// - Parameters:
    ///   - folder: The folder.
    ///   - shipped: The folder with `machine.wasm`, `vmlinux` and `initramfs.cpio`. Without it, only pre-baked images can run.
    ///   - authorities: A file of PEM certificates to trust in addition to those of the system.
    ///   - credentials: A file of credentials for registries, in the format of docker and podman.
    ///   - plainHTTP: Whether to connect to registries without TLS.
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

    /// The progress of one task.
    public struct Progress: Sendable, Hashable {
        /// The name of the task, such as `pull`, `unpack-snapshot`, `compile` or `boot`.
        public let task: String
        /// The amount that is done, usually in bytes.
        public let done: UInt64
        /// The amount in all, or `nil` if it is unknown.
        public let total: UInt64?
        /// Whether the task has ended, successfully or not.
        public let hasEnded: Bool

        /// The part that is done, from 0 to 1, or `nil` if the total is unknown.
        public var fraction: Double? { total.map { Double(done) / Double(max($0, 1)) } }

        init(_ progress: prebake_progress) {
            task = String(cString: progress.task)
            done = progress.done
            total = progress.total == 0 ? nil : progress.total
            hasEnded = progress.ended
        }
    }

    /// A closure that receives progress. It is called on a thread of its own.
    public typealias OnProgress = @Sendable (Progress) -> Void

    /// The files of an image: a machine, and a snapshot of that machine. They stay in the store for as long as this object exists.
    public final class Artifacts: @unchecked Sendable {
        private let handle: OpaquePointer
        /// The machine's file.
        public let machine: URL
        /// The state of the machine once it has booted, or `nil` if the image was not pre-baked.
        public let snapshot: URL?
        /// The image's reference in full.
        public let reference: String
        /// The digest of this version of the image.
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

    /// Fetches and verifies the image that `reference` names now, unless it is in the store already.
    ///
    /// If nothing has changed, this costs one small request. If the registry cannot be reached, the version that was pulled last is returned. When the task is
    /// cancelled, the download stops; the next call resumes it.
    ///
    /// - Parameters:
    ///   - reference: The image's reference.
    ///   - offline: Whether to use the store alone, without asking the registry.
    ///   - verifyKey: A public key in PEM format that must have signed the image.
    ///   - onProgress: Receives progress, at most several times a second.
    /// - Returns: The image's files.
    /// - Throws: ``PrebakeError``, or `CancellationError` if the task is cancelled.
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
        /// The processor that the machine was compiled for, or `wasm`.
        public let target: String
        /// The size of the machine's file.
        public let machineBytes: UInt64
        /// The size of the snapshot, or `nil` if there is none.
        public let snapshotBytes: UInt64?
        /// When the image was pulled.
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

    /// Returns the images in the store, sorted by reference.
    public func images() async throws -> [Image] {
        try await blocking {
            let found = Box<[Image]>([])
            _ = try PrebakeError.check {
                prebake_images(self.handle, { Box<[Image]>.at($0!).value.append(Image($1!.pointee)) }, found.address, $0)
            }
            return found.value
        }
    }

    /// A session in the store.
    public struct Session: Sendable, Hashable {
        public let name: String
        /// The reference or file that the session was started from.
        public let subject: String
        /// When the session was started.
        public let began: Date
        /// When the session was last saved, or `nil` if it never was.
        public let saved: Date?
        /// The size of what was saved.
        public let bytes: UInt64
        /// Whether a machine is using the session now.
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

    /// Returns all sessions, sorted by name.
    public func sessions() async throws -> [Session] {
        try await blocking {
            let found = Box<[Session]>([])
            _ = try PrebakeError.check {
                prebake_sessions(self.handle, { Box<[Session]>.at($0!).value.append(Session($1!.pointee)) }, found.address, $0)
            }
            return found.value
        }
    }

    /// Deletes a session and everything saved in it.
    public func removeSession(named name: String) async throws {
        _ = try await blocking { try PrebakeError.check { prebake_session_remove(self.handle, name, $0) } }
    }

    /// The result of pruning the store.
    public struct Pruned: Sendable, Hashable {
        /// How many files were removed.
        public let files: UInt64
        /// How many bytes they had.
        public let bytes: UInt64
        /// How many files were left because they are in use.
        public let inUse: UInt64
    }

    /// Removes all files that no image, session or machine needs.
    ///
    /// - Parameter reference: An image to remove first.
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

    /// Starts a machine and returns at once, while the image is fetched and restored.
    ///
    /// Follow ``Machine/progress`` to see how far that is. If it fails, ``Machine/end`` throws the reason.
    ///
    /// - Throws: ``PrebakeError`` if the specification is invalid.
    public func start(_ specification: Machine.Specification) throws -> Machine {
        try Machine(self, specification)
    }
}
