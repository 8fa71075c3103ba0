"""Masking: how long a thousand texts take, and whether a hostile text takes more than linear time.

`python -m benchmarks.masking [--before FILE]`; FILE is a module with another `mask`, measured in the same run.
"""

import argparse
import importlib.util
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from litgo_pipelines.intake.masking import mask
from litgo_pipelines.intake.masking.measure import texts

TEXTS, LENGTH, REPEATS = 1_000, 1_500, 3
LONG = 100_000
BOUND = 2.0  # seconds a hostile text may take
HOSTILE = (
    *("1", "0", "a ", "@", "(((", "1 ", "um ", "a.", "rua ", "cpf ", "maria ", "Maria ", "A ", "@a", "1-", ".", "["),
    *("a@", "&amp;", "oab ", "rua 1", "nome ", "meu marido ", "1/", "um dois ", "de ", "Da ", "cpf:", "((1)", "{[("),
    *("a1", "x", "\u0301", "arroba ", "http://", "www.", "a_", "q 1 ", "- ", ", ", "nasci em ", "conta ", "+55"),
    *("agencia 1234 ", "email a ", "&#49;", "J."),
)


def samples(seed: int = 7) -> list[str]:
    """Texts of LENGTH characters from the building half, in random order."""
    rng, pool = random.Random(seed), [each.text for each in texts("building")]
    return [". ".join(rng.choices(pool, k=60))[:LENGTH] for _ in range(TEXTS)]


def seconds(work: Callable[[str, Sequence[str]], str], given: Sequence[str]) -> float:
    """Processor time, the best of REPEATS."""
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        for text in given:
            work(text, ["João da Silva Souza"])
        found.append(time.process_time() - started)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path)
    arguments = parser.parse_args()
    given = samples()
    now = seconds(mask, given)
    print(f"{TEXTS:,} texts of {LENGTH:,} characters: {now:.2f} s")
    if arguments.before:
        spec = importlib.util.spec_from_file_location("before", arguments.before)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        before = seconds(module.mask, given)
        print(f"before: {before:.2f} s, ratio {now / before:.2f}")
    for piece in HOSTILE:
        started = time.process_time()
        mask((piece * LONG)[:LONG], ["João da Silva Souza"])
        took = time.process_time() - started
        print(f"{piece!r:>16} × {LONG // len(piece):,}: {took:.2f} s{'' if took < BOUND else '  TOO SLOW'}", flush=True)


if __name__ == "__main__":
    main()
