import signal
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent  # the checkout

if any(argument.startswith("benchmarks.") for argument in sys.orig_argv):  # as `python -m benchmarks.NAME`
    # SIGTERM unwinds as Ctrl-C does: servers that a benchmark started are stopped, their folders removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
