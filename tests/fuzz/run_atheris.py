"""Runs the targets under atheris, guided by coverage, each for some seconds.

    python tests/fuzz/run_atheris.py [--seconds 60] [target ...]

It needs `pip install atheris`, beside the library. What makes a target fail is written to the
folder `--findings`, with the error; the exit status is then 1.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MOST_BYTES = 4096


def fuzz(name, seconds, findings, scratch):
    """One target, in this process, to its end."""
    import atheris

    with atheris.instrument_imports(include=["cyborg_embedded"]):
        import targets

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        # What atheris puts around comparisons keeps memory: so not all of it, but what is
        # asked for at a time is limited.
        "-rss_limit_mb=0",
        "-malloc_limit_mb=512",
        "-timeout=10",
        f"-artifact_prefix={findings}/{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *options, scratch, str(HERE / "corpus" / name)],
        lambda data: targets.run(name, data),
    )
    atheris.Fuzz()


def fuzz_all(names, seconds, findings):
    """Each target in a process of its own; the names of those that failed."""
    failed = []
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, __file__, "--one", scratch, "--seconds", str(seconds)]
            done = subprocess.run(
                [*command, "--findings", findings, name], capture_output=True, text=True
            )
        lines = (done.stderr + done.stdout).splitlines()
        runs = [line.split()[-1] for line in lines if line.startswith("stat::number_of_executed")]
        print(
            f"{name}: {'failed' if done.returncode else 'ok'}, {(runs or ['?'])[0]} runs",
            flush=True,
        )
        if done.returncode:
            failed.append(name)
            print("\n".join(lines[-40:]))
    return failed


def main():
    parser = argparse.ArgumentParser(description="Run the targets under atheris.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--findings", default="fuzz-findings")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="target")
    options = parser.parse_args()
    sys.path[:0] = [str(HERE)]
    if options.one:
        fuzz(options.names[0], options.seconds, options.findings, options.one)
        return
    os.makedirs(options.findings, exist_ok=True)
    names = options.names or sorted(path.name for path in (HERE / "corpus").iterdir())
    if fuzz_all(names, options.seconds, options.findings):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
