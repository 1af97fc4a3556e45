// A shell of an image, without a terminal: what is typed here goes to it line by line.
//
//   prompt FOLDER IMAGE        for example: prompt /var/tmp/machines docker.io/library/alpine

import Foundation
import Prebake

guard CommandLine.arguments.count == 3 else { fatalError("prompt FOLDER IMAGE") }
let prebake = try Prebake(folder: URL(fileURLWithPath: CommandLine.arguments[1]))
let artifacts = try await prebake.ensure(CommandLine.arguments[2]) { print($0.task, $0.fraction ?? 0) }
let machine = try prebake.start(.init(image: artifacts.reference, session: "prompt"))

let screen = Task {
    for await chunk in machine.output { FileHandle.standardOutput.write(chunk.bytes) }
}
while let line = readLine(strippingNewline: false) { try await machine.write(line) }
// The next start goes on there.
print(try await machine.stop())
await screen.value
