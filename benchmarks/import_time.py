"""Import time of the code location, which every Dagster step pays, against importing Dagster alone.

    python -m benchmarks.import_time [REPETITIONS]

Fresh interpreters in turn, medians. Processor time stands beside elapsed time: on a busy machine it is the steadier of
the two. Heavy libraries must not be loaded by the import; the exit status is 1 when one is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "mlflow",
    "lightgbm",
    "sklearn",
    "pandas",
    "pyarrow",
    "scipy",
    "matplotlib",
)

IMPORT = """
import importlib, json, sys, time
elapsed, worked = time.perf_counter(), time.process_time()
importlib.import_module(sys.argv[1])
elapsed, worked = time.perf_counter() - elapsed, time.process_time() - worked
print(json.dumps({"elapsed": elapsed, "worked": worked, "modules": sorted(sys.modules)}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repetitions", nargs="?", type=int, default=7)
    repetitions = parser.parse_args().repetitions

    names = ("dagster", "litgo_pipelines.definitions")
    runs: dict[str, list] = {name: [] for name in names}
    for name in names:
        imported(name)  # compiles what was never compiled; not counted
    for _ in range(repetitions):
        for name in names:
            runs[name].append(imported(name))
    for measure in ("elapsed", "worked"):
        floor, ours = (statistics.median(run[measure] for run in runs[name]) for name in names)
        print(f"{measure}: import dagster {floor:.2f} s, {names[1]} {ours:.2f} s: {ours / floor:.2f} x (at most 1.25)")
    loaded = [module for module in HEAVY if module in runs[names[1]][-1]["modules"]]
    print(f"heavy libraries loaded: {', '.join(loaded) or 'none'} (of {', '.join(HEAVY)})")
    print(f"median of {repetitions}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 1 if loaded else 0


def imported(name: str) -> dict:
    done = subprocess.run([sys.executable, "-c", IMPORT, name], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
