"""Runs modules of Python's own tests, each in a process of its own, and prints the verdict of each and of every test that did not pass."""
import collections, re, subprocess, sys, tempfile, xml.etree.ElementTree as tree

for module in sys.argv[1:]:
    with tempfile.NamedTemporaryFile() as report:
        run = subprocess.run([sys.executable, "-m", "test", "-v", "--junit-xml", report.name, module], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tempfile.gettempdir())
        verdicts, notes = collections.Counter(), []
        try:
            cases = list(tree.parse(report.name).iter("testcase"))
        except tree.ParseError:
            cases = []
        for case in cases:
            verdict = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
            verdicts[verdict] += 1
            if verdict != "passed":
                text = re.sub(r"0x[0-9a-f]+", "0x", "".join(case.find(verdict).itertext()).strip() or case.find(verdict).get("message", ""))
                notes.append(f"    {verdict}: {case.get('name')}" + ("" if verdict == "skipped" else ": " + text[-600:].replace("\n", "\n        ")))
    print(f"{module}: status {run.returncode}", *(f"{count} {kind}" for kind, count in sorted(verdicts.items())), flush=True)
    print(*sorted(notes), sep="\n", end="\n" if notes else "", flush=True)
    if run.returncode and not notes:
        print(run.stdout.decode(errors="replace")[-1500:], flush=True)
