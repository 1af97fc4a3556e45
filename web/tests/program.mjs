// A program of thirty lines: runs commands in a machine, keeps what they did, and goes on from there.
import { Vm } from "prebake";

const [machine, snapshot] = process.argv.slice(2);

/** What a script prints, and the machine's state after it. */
async function run(script, changes) {
  let output = "";
  const vm = await Vm.restore({
    machine,
    snapshot,
    ...(changes && { changes }),
    terminal: false,
    saveTo: "memory",
    onOutput: (bytes) => {
      output += new TextDecoder().decode(bytes);
    },
  });
  await vm.input(script);
  await vm.endInput();
  const { status, state } = await vm.ended;
  return { output, status, state };
}

const first = await run("uname -m; echo 42 > /tmp/answer\n");
const second = await run("cat /tmp/answer; exit 3\n", first.state);
console.log(JSON.stringify([first.output, first.status, second.output, second.status]));
