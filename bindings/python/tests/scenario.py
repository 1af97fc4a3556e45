"""What programs do with the package, in bindings/test/world: scenario.py PROGRAM [WRAPPER...]"""

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest import mock

import prebake
from prebake import Network, Prebake, Terminal

PROGRAM, WRAPPER = sys.argv[1], sys.argv[2:]
REGISTRY, NAMED, AUTHORITIES, MOVE, WORK = (
    os.environ[f"PREBAKE_TEST_{name}"] for name in ("REGISTRY", "NAMED", "AUTHORITIES", "MOVE", "WORK")
)
IMAGE = f"{REGISTRY}/demo:1"
TERMINAL = Terminal()


class Interrupted(Exception):
    pass


class Scenario(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(dir=WORK)

    def prebake(self, **options):
        return Prebake(PROGRAM, home=self.home, wrapper=WRAPPER, **options)

    def kind(self, wanted, kind, work, *arguments, **options):
        with self.assertRaises(wanted) as raised:
            work(*arguments, **options)
        self.assertEqual(raised.exception.kind, kind)

    def test_an_image_is_fetched_with_progress_once(self):
        with self.prebake() as pb:
            told = []
            found = pb.ensure(IMAGE, progress=told.append)
            pulled = [progress for progress in told if progress.task == "pull"]
            self.assertTrue(pulled[-1].ended and all(progress.total for progress in pulled), pulled)
            self.assertTrue(found.machine.is_file() and found.snapshot.is_file())
            self.assertEqual(pb.ensure(IMAGE, progress=lambda progress: self.fail(f"fetched again: {progress}")), found)
            self.assertEqual([(image.reference, image.digest) for image in pb.images()], [(found.reference, found.digest)])

    def test_what_progress_raises_gives_up_and_keeps_what_has_come(self):
        def kept():
            return sum(file.stat().st_size for file in Path(self.home, "store/partial").glob("*"))

        def interrupt(progress):
            if progress.done > 1 << 20:
                raise Interrupted

        with self.prebake() as pb:
            with self.assertRaises(Interrupted):
                pb.ensure(IMAGE, progress=interrupt)
            # The process works on, and gives up meanwhile.
            self.assertEqual(pb.images(), [])
        self.assertGreater(kept(), 0)
        with self.prebake() as pb:
            self.assertTrue(pb.ensure(IMAGE).machine.is_file())

    def test_a_tag_that_moves_brings_a_new_pair(self):
        with self.prebake() as pb:
            moving = f"{REGISTRY}/demo:moving"
            first = pb.ensure(moving)
            subprocess.run([MOVE], check=True)
            second = pb.ensure(moving)
            self.assertNotEqual((first.digest, first.machine, first.snapshot), (second.digest, second.machine, second.snapshot))

    def test_what_was_saved_is_there_after_kill_9(self):
        with self.prebake() as pb, pb.start(IMAGE, session="work", terminal=TERMINAL) as vm:
            vm.write("word=saved; echo $word\n")
            vm.expect("\r\nsaved\r\n")
            saved = vm.checkpoint()
            self.assertEqual(saved.session, "work")
            vm.write("word=lost; echo $word\n")
            vm.expect("\r\nlost\r\n")
            os.kill(pb.pid, signal.SIGKILL)
            self.kind(prebake.ProcessDied, "process-died", vm.wait)
            self.kind(prebake.ProcessDied, "process-died", pb.images)
        with self.prebake() as pb:
            with pb.start(session="work", terminal=TERMINAL) as vm:
                vm.write("echo $word\n")
                vm.expect("\r\nsaved\r\n")
                ended = vm.stop()
            self.assertEqual((ended.status, ended.signal, ended.saved.session), (None, None, "work"))
            self.assertEqual([(session.name, session.running) for session in pb.sessions()], [("work", False)])
            pb.remove_session("work")
            self.assertEqual(pb.sessions(), [])

    def test_the_end_of_this_program_saves(self):
        script = """if True:
            import sys, prebake
            pb = prebake.Prebake(sys.argv[1], home=sys.argv[2], wrapper=sys.argv[4:])
            vm = pb.start(sys.argv[3], session="work", terminal=prebake.Terminal())
            vm.write("word=kept; echo $word\\n")
            vm.expect("\\r\\nkept\\r\\n")
        """
        subprocess.run([sys.executable, "-c", script, PROGRAM, self.home, IMAGE, *WRAPPER], check=True)
        deadline = perf_counter() + 60
        with self.prebake() as pb:
            # That process may still be saving it.
            while pb.sessions()[0].running and perf_counter() < deadline:
                pass
            with pb.start(session="work", terminal=TERMINAL) as vm:
                vm.write("echo $word\n")
                vm.expect("\r\nkept\r\n")

    def test_what_the_documentation_shows(self):
        image = f"{REGISTRY}/alpine:1"
        pb = self.prebake()
        self.assertEqual(pb.run(image, ["uname", "-m"]).stdout, b"x86_64\n")
        vm = pb.start(image, session="work", terminal=Terminal())
        self.assertEqual(vm.expect("/ # "), b"/ # ")
        vm.write("touch /here\n")
        self.assertEqual(vm.checkpoint().session, "work")
        self.assertEqual(vm.stop().saved.session, "work")
        pb.close()

    def test_two_clones_draw_different_numbers(self):
        with self.prebake() as pb:
            draw = b"head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '\n"
            drawn = [pb.run(IMAGE, fresh=True, input=draw).stdout for _ in range(2)]
            self.assertEqual([len(number) for number in drawn], [33, 33])
            self.assertNotEqual(*drawn)

    def test_streams_are_byte_exact_and_a_status_comes_back(self):
        with self.prebake() as pb:
            done = pb.run(IMAGE, environment={"A": "done"}, input=b"cat; echo $A >&2; exit 5\na\r\n\x04")
            self.assertEqual((done.stdout, done.stderr, done.ended.status), (b"a\r\n\x04", b"done\n", 5))

    def test_more_goes_in_and_out_than_may_wait(self):
        sent = bytes(range(256)) * 4096 * 6
        with self.prebake() as pb:
            self.assertEqual(pb.run(IMAGE, input=b"cat\n" + sent).stdout, sent)

    def test_a_machine_that_writes_unread_is_saved_and_stopped(self):
        with mock.patch("prebake._vm.UNREAD", 1 << 14), self.prebake() as pb, pb.start(IMAGE, session="work", terminal=TERMINAL) as vm:
            vm.write("yes\n")
            with vm._changed:
                self.assertTrue(vm._changed.wait_for(lambda: vm._unread >= 1 << 14, 600))
            self.assertEqual(vm.checkpoint().session, "work")
            self.assertEqual(vm.stop().saved.session, "work")
            self.assertIn("y\r\ny\r\n", vm.expect("y\r\ny\r\n").decode())

    def test_names_are_looked_up_by_this_program(self):
        asked = []
        addresses = {NAMED.split(":")[0]: ["127.0.0.1"], "app.prebake.example": ["192.0.2.7"]}

        def resolver(name):
            asked.append(name)
            return addresses.get(name, [])

        with self.prebake(resolver=resolver, environment={"SSL_CERT_DIR": AUTHORITIES}) as pb:
            image = f"{NAMED}/alpine:1"
            pb.ensure(image)
            self.assertEqual(set(asked), {NAMED.split(":")[0]})
            command = ["nslookup", "-type=a", "app.prebake.example"]
            self.assertIn(b"192.0.2.7", pb.run(image, command, offline=True).stdout)
            self.assertNotIn(b"192.0.2.7", pb.run(image, command, offline=True, network=Network(none=True)).stdout)
            with self.assertRaises(prebake.Unreachable):
                pb.ensure("other.prebake.example/alpine:1")
            self.assertIn("other.prebake.example", asked)

    def test_failures_have_kinds(self):
        with self.prebake() as pb:
            self.kind(prebake.Unreachable, "registry-unreachable", pb.ensure, "localhost:1/none:1")
            self.kind(prebake.NotFound, "not-in-store", pb.ensure, IMAGE, offline=True)
            self.kind(prebake.NotFound, "missing", pb.start(snapshot="/nonexistent.snap").wait)
            self.kind(prebake.PrebakeError, "no-session", pb.remove_session, "none")
            self.kind(prebake.PrebakeError, "invalid", pb.start, workdir="x")
            with pb.start(IMAGE, session="work", terminal=TERMINAL) as vm:
                vm.write("echo he''re\n")
                vm.expect("here")
                self.assertEqual([(session.saved, session.running) for session in pb.sessions()], [(None, True)])
                self.kind(prebake.SessionInUse, "session-in-use", pb.start(IMAGE, session="work", terminal=TERMINAL).wait)
                with self.assertRaises(TimeoutError):
                    vm.wait(timeout=0)
            self.kind(prebake.MachineEnded, "machine-ended", vm.write, "x")
        self.kind(prebake.ProcessDied, "process-died", Prebake, "/nonexistent", home=self.home)
        self.kind(prebake.ProcessDied, "process-died", Prebake, "/bin/false", home=self.home)

    def test_starts_leave_no_threads(self):
        with self.prebake() as pb:
            pb.run(IMAGE, input=b"exit\n")
            before = threading.active_count()
            for _ in range(10):
                pb.run(IMAGE, input=b"exit\n", offline=True)
            self.assertLessEqual(threading.active_count(), before)
        self.assertLess(threading.active_count(), before)


def overhead(rounds):
    """Prints the milliseconds from the start of a process to the answer to a command, in turns: of `prebake run`, of `prebake serve` with frames that are there
    already, and by this package. They are shown and not judged, as the host may be busy."""
    home = tempfile.mkdtemp(dir=WORK)
    with Prebake(PROGRAM, home=home, wrapper=WRAPPER) as pb:
        pb.ensure(IMAGE)
    environment = {**os.environ, "PREBAKE_HOME": f"{home}/store", "PREBAKE_CACHE": f"{home}/cache"}

    def answered(arguments, told):
        begun = perf_counter()
        with subprocess.Popen(
            [*WRAPPER, PROGRAM, *arguments], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        ) as process:
            process.stdin.write(told)
            heard = b""
            while b"here\n" not in heard:
                more = process.stdout.read(4096)
                assert more, heard
                heard += more
            took = perf_counter() - begun
            process.kill()
        return took

    def frame(kind, body):
        return struct.pack(">IB", 1 + len(body), kind) + body

    spec = {"image": IMAGE, "fresh": True, "offline": True}
    start = {"jsonrpc": "2.0", "id": 1, "method": "start", "params": {"machine": 2, "spec": spec}}
    frames = frame(0, json.dumps(start).encode()) + frame(1, struct.pack(">IB", 2, 0) + b"echo here\n")

    def bound():
        begun = perf_counter()
        with Prebake(PROGRAM, home=home, wrapper=WRAPPER) as pb, pb.start(IMAGE, fresh=True, offline=True) as vm:
            vm.write("echo here\n")
            vm.expect("here\n")
            return perf_counter() - begun

    ways = [lambda: answered(["run", "--offline", "--fresh", IMAGE], b"echo here\n"), lambda: answered(["serve"], frames), bound]
    times = []
    for turn in range(rounds):
        # Each comes first as often as the others.
        order = [(turn + place) % 3 for place in range(3)]
        took = {way: ways[way]() * 1e3 for way in order}
        times.append([took[way] for way in range(3)])
    run, serve, own = (median(column) for column in zip(*times))
    print(
        f"first answer from the start of a process on: {run:.1f} ms by prebake run, {serve:.1f} ms by prebake serve, {own:.1f} ms by this package;"
        f" {median(row[2] - row[0] for row in times):+.1f} ms beside run and {median(row[2] - row[1] for row in times):+.1f} ms beside serve in the medians of"
        f" {rounds} rounds"
    )


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
    overhead(60)
