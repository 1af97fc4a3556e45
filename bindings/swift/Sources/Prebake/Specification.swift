import Foundation

extension Machine {
    /// Describes a machine to start. Defaults are those of `prebake run`.
    public struct Specification: Sendable, Hashable, Encodable {
        /// The image's reference. Without an image and without files, the machine is the one that `session` was started from.
        public var image: String?
        /// A machine's file, instead of an image.
        public var machine: URL?
        /// A snapshot's file, with or without its machine.
        public var snapshot: URL?
        /// The session that the machine is saved in. If it was saved before, the machine resumes there. With `nil`, an image on a terminal gets a session of its own.
        public var session: String?
        /// Whether to start without a session, so that nothing is saved.
        public var isFresh = false
        /// The program's terminal. With `nil`, the program has byte-exact standard streams instead.
        public var terminal: Terminal?
        /// The engine that runs the machine. With `nil`, prebake chooses.
        public var engine: Engine?
        /// The guest's memory in MiB, if not the image's own.
        public var memory: Int?
        /// Whether to use the store alone, without asking the registry.
        public var isOffline = false
        /// A public key in PEM format that must have signed the image.
        public var verifyKey: String?
        /// Environment variables of the program.
        public var environment: [String: String] = [:]
        /// Directories and files of this host.
        public var volumes: [Volume] = []
        /// The program's working directory, as an absolute path in the guest.
        public var workingDirectory: String?
        /// The user that the program runs as.
        public var user: String?
        /// The guest's host name.
        public var hostname: String?
        /// The program, instead of the image's entrypoint.
        public var entrypoint: String?
        /// The program's arguments, instead of the image's.
        public var arguments: [String] = []
        /// The guest's network. With `nil`, the guest can connect to other hosts, but not to this one.
        public var network: Network?

        /// A terminal.
        public struct Terminal: Sendable, Hashable, Encodable {
            public var columns: UInt16
            public var rows: UInt16
            /// The value of `TERM`.
            public var name: String

            public init(columns: UInt16 = 80, rows: UInt16 = 24, name: String = "xterm-256color") {
                self.columns = columns
                self.rows = rows
                self.name = name
            }
        }

        /// An engine that runs machines.
        public enum Engine: String, Sendable, Encodable {
            /// The emulator that is part of the library. It needs no executable memory, which iOS does not allow.
            case native
            /// WAMR, which runs the machine's compiled code.
            case wamr
        }

        /// Makes a directory or file of this host available in the guest.
        public struct Volume: Sendable, Hashable {
            public var host: URL
            /// An absolute path in the guest.
            public var guest: String
            public var isReadOnly: Bool
            /// How many bytes the guest may add at most, or `nil` for no limit.
            public var size: UInt64?

            public init(host: URL, guest: String, isReadOnly: Bool = false, size: UInt64? = nil) {
                self.host = host
                self.guest = guest
                self.isReadOnly = isReadOnly
                self.size = size
            }
        }

        /// The network of a guest.
        public struct Network: Sendable, Hashable, Encodable {
            /// Whether the guest has no network.
            public var none = false
            /// Ports of this host that are forwarded to the guest.
            public var published: [Port] = []
            /// Addresses of name servers to use instead of this host's.
            public var dns: [String] = []
            /// Host names for the guest, with their IPv4 addresses; `host-gateway` stands for this host.
            public var names: [String: String] = [:]

            /// Forwards a port of this host's loopback interface to a port of the guest.
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

        /// Describes a machine from an image.
        public init(image: String, session: String? = nil, terminal: Terminal? = nil) {
            self.image = image
            self.session = session
            self.terminal = terminal
        }

        /// Describes a machine from files: a machine, a snapshot, or both.
        public init(machine: URL? = nil, snapshot: URL?, session: String? = nil, terminal: Terminal? = nil) {
            self.machine = machine
            self.snapshot = snapshot
            self.session = session
            self.terminal = terminal
        }

        /// Describes the machine that a session was started from.
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
