import Foundation

extension Machine {
    /// What a machine is to be. What is left out is as `prebake run` has it.
    public struct Specification: Sendable, Hashable, Encodable {
        /// A reference. Without it, and without files, what `session` is of.
        public var image: String?
        /// A machine's file, in place of an image.
        public var machine: URL?
        /// A snapshot's file, of that machine or without one.
        public var snapshot: URL?
        /// The session that it is saved in, and that it goes on with if it was saved before. Without one, an image on a terminal has one of its own.
        public var session: String?
        /// Nothing is saved.
        public var isFresh = false
        /// The program's terminal; without one, it has three streams, byte for byte.
        public var terminal: Terminal?
        /// Where WebAssembly cannot be run as native code, as on iOS, the native engine is the one that works.
        public var engine: Engine?
        /// Memory in MiB.
        public var memory: Int?
        /// No registry is asked.
        public var isOffline = false
        /// A public key (PEM) that must have signed the image.
        public var verifyKey: String?
        public var environment: [String: String] = [:]
        public var volumes: [Volume] = []
        public var workingDirectory: String?
        public var user: String?
        public var hostname: String?
        /// The program, in place of the image's.
        public var entrypoint: String?
        public var arguments: [String] = []
        public var network: Network?

        public struct Terminal: Sendable, Hashable, Encodable {
            public var columns: UInt16
            public var rows: UInt16
            public var name: String

            public init(columns: UInt16 = 80, rows: UInt16 = 24, name: String = "xterm-256color") {
                self.columns = columns
                self.rows = rows
                self.name = name
            }
        }

        public enum Engine: String, Sendable, Encodable {
            case native, wamr
        }

        /// A directory or file of this host at a path in the guest.
        public struct Volume: Sendable, Hashable {
            public var host: URL
            public var guest: String
            public var isReadOnly: Bool
            /// Bytes that the guest may add, if that is bounded.
            public var size: UInt64?

            public init(host: URL, guest: String, isReadOnly: Bool = false, size: UInt64? = nil) {
                self.host = host
                self.guest = guest
                self.isReadOnly = isReadOnly
                self.size = size
            }
        }

        public struct Network: Sendable, Hashable, Encodable {
            /// The guest has none.
            public var none = false
            public var published: [Port] = []
            /// Resolvers in place of this host's.
            public var dns: [String] = []
            /// Names that the guest finds, with their IPv4 addresses; `host-gateway` is this host.
            public var names: [String: String] = [:]

            /// A port of this host's loopback interface that leads to one of the guest.
            public struct Port: Sendable, Hashable, Encodable {
                public var host: UInt16
                public var guest: UInt16
                public var udp: Bool

                public init(host: UInt16, guest: UInt16, udp: Bool = false) {
                    self.host = host
                    self.guest = guest
                    self.udp = udp
                }
            }

            public init(none: Bool = false, published: [Port] = [], dns: [String] = [], names: [String: String] = [:]) {
                self.none = none
                self.published = published
                self.dns = dns
                self.names = names
            }
        }

        /// An image, with or without a terminal; in a session, or in none.
        public init(image: String, session: String? = nil, terminal: Terminal? = nil) {
            self.image = image
            self.session = session
            self.terminal = terminal
        }

        /// Files: a machine, a snapshot, or both.
        public init(machine: URL? = nil, snapshot: URL?, session: String? = nil, terminal: Terminal? = nil) {
            self.machine = machine
            self.snapshot = snapshot
            self.session = session
            self.terminal = terminal
        }

        /// What a session is of.
        public init(session: String, terminal: Terminal? = nil) {
            self.session = session
            self.terminal = terminal
        }

        private enum Key: String, CodingKey {
            case image, machine, snapshot, session, fresh, terminal, engine, memory, offline, environment, volumes, workdir
            case user, hostname, entrypoint, arguments, network
            case verifyKey = "verify_key"
        }

        public func encode(to encoder: any Encoder) throws {
            var fields = encoder.container(keyedBy: Key.self)
            try fields.encodeIfPresent(image, forKey: .image)
            try fields.encodeIfPresent(machine?.path, forKey: .machine)
            try fields.encodeIfPresent(snapshot?.path, forKey: .snapshot)
            try fields.encodeIfPresent(session, forKey: .session)
            try fields.encode(isFresh, forKey: .fresh)
            try fields.encodeIfPresent(terminal, forKey: .terminal)
            try fields.encodeIfPresent(engine, forKey: .engine)
            try fields.encodeIfPresent(memory, forKey: .memory)
            try fields.encode(isOffline, forKey: .offline)
            try fields.encodeIfPresent(verifyKey, forKey: .verifyKey)
            try fields.encode(environment, forKey: .environment)
            try fields.encode(volumes, forKey: .volumes)
            try fields.encodeIfPresent(workingDirectory, forKey: .workdir)
            try fields.encodeIfPresent(user, forKey: .user)
            try fields.encodeIfPresent(hostname, forKey: .hostname)
            try fields.encodeIfPresent(entrypoint, forKey: .entrypoint)
            try fields.encode(arguments, forKey: .arguments)
            try fields.encodeIfPresent(network, forKey: .network)
        }
    }
}

extension Machine.Specification.Volume: Encodable {
    private enum Key: String, CodingKey {
        case host, guest, size
        case isReadOnly = "read_only"
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Key.self)
        try fields.encode(host.path, forKey: .host)
        try fields.encode(guest, forKey: .guest)
        try fields.encode(isReadOnly, forKey: .isReadOnly)
        try fields.encodeIfPresent(size, forKey: .size)
    }
}
