"""What programs see of a process that is not as it should be: it dies, lies, floods or stalls. child.py stands in for it."""

import logging
import os
import pickle
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

import prebake
from prebake import Prebake, _errors, _process, _vm

CHILD = Path(__file__).parents[2] / "test" / "child.py"
# Seconds after which something is taken to hang.
LONG = 60


class Process(unittest.TestCase):
    def child(self, *does):
        """A process that has said that it is ready, unless that is what it does not do."""
        return Prebake("prebake", wrapper=[sys.executable, str(CHILD), *does])

    def ends(self, work, *arguments, **options):
        """Does something that must not hang, and returns what came of it."""
        came = []

        def run():
            try:
                came.append(work(*arguments, **options))
            except BaseException as problem:
                came.append(problem)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(LONG)
        self.assertFalse(thread.is_alive(), "it hangs")
        return came[0]

    def test_one_that_does_not_read_can_be_closed(self):
        pb = self.child("stall")
        writing = [threading.Thread(target=self.ends, args=(pb.prune, ["x" * (1 << 20)]), daemon=True) for _ in range(2)]
        for thread in writing:
            thread.start()
        while not pb._writing.locked():
            pass
        self.assertIsNone(self.ends(pb.close, timeout=1))
        self.assertIsNotNone(pb._process.poll())
        for thread in writing:
            thread.join()
        self.assertIsInstance(self.ends(pb.images), prebake.ProcessDied)

    def test_one_that_talks_nonsense_is_ended_even_if_it_does_not_want_to(self):
        for nonsense in ["length", "short", "text", "list", "number", "deep", "answer", "silence"]:
            with self.subTest(nonsense), mock.patch.object(_process, "PATIENCE", 1):
                pb = self.child("nonsense", nonsense)
                self.assertIsInstance(self.ends(pb.images), prebake.ProcessDied)
                self.assertIsNotNone(pb._process.poll())
                pb.close()

    def test_one_that_is_not_ready_does_not_stay(self):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "pid")
            self.assertIsInstance(self.ends(self.child, "unready", str(place)), KeyError)
            pid = int(place.read_text())
            # Its reader waits for its end.
            for thread in threading.enumerate():
                if thread.name == "prebake-output":
                    thread.join(LONG)
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    def test_a_machine_whose_end_is_not_understood_has_ended(self):
        with mock.patch.object(_process, "PATIENCE", 1):
            pb = self.child("ended")
            vm = pb.start("x")
            self.assertIsInstance(self.ends(vm.wait), prebake.ProcessDied)
            pb.close()

    def test_output_that_nobody_reads_is_bounded_whatever_is_waited_for(self):
        most = 1 << 20
        with mock.patch.object(_vm, "UNREAD", 1 << 14), mock.patch.object(_vm, "MOST_UNREAD", most):
            with self.child("flood", str(16 << 20)) as pb, self.assertLogs("prebake", logging.WARNING) as logs:
                vm = pb.start("x")
                # Its answer comes behind the flood.
                self.assertEqual(pb.ensure("x").reference, "x")
                self.assertLess(vm._unread, most + (1 << 16))
                self.assertEqual(sum(len(output.bytes) for output in iter(vm.read, None)) // most, 1)
        self.assertEqual(len(logs.output), 1, "it is told once")

    def test_what_is_waited_for_has_its_time_and_its_length_however_much_is_written(self):
        pb = self.child("drip")
        vm = pb.start("x")
        self.assertIsInstance(self.ends(vm.expect, "never", timeout=0.5), TimeoutError)
        with mock.patch.object(_vm, "MOST_EXPECTED", len(vm._rest) + 100):
            self.assertEqual(self.ends(vm.expect, "never").kind, "not-found")
        self.assertEqual(self.ends(vm.expect, "y\n"), b"y\n")
        pb.close(timeout=0.1)

    def test_progress_does_not_pile_up_behind_who_is_told(self):
        told = []
        go_on = threading.Event()

        def progress(progress):
            told.append(progress)
            self.assertTrue(go_on.wait(LONG))

        with self.child("progress") as pb:
            threading.Thread(target=lambda: (pb.images(), go_on.set())).start()
            pb.ensure("x", progress=progress)
        self.assertLess(len(told), 2 * _process.UNTOLD)
        self.assertTrue(told[-1].ended)

    def test_failures_can_be_passed_on_and_raised_again(self):
        for kind in [*_errors.KINDS, "other"]:
            failure = _errors.error(kind, "it failed")
            again = pickle.loads(pickle.dumps(failure))
            self.assertEqual((type(again), str(again), again.kind), (type(failure), "it failed", kind))
        pb = self.child("nonsense", "silence")
        pb.close(timeout=0.1)
        depths = []
        for _ in range(3):
            try:
                pb.images()
            except prebake.ProcessDied as died:
                depth, trace = 0, died.__traceback__
                while trace is not None:
                    depth, trace = depth + 1, trace.tb_next
                depths.append(depth)
        self.assertEqual(len(set(depths)), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
