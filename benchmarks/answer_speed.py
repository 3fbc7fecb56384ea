"""Answers per second of the mini base, one at a time and in batches, with and without an adapter.

python benchmarks/answer_speed.py [--items 200]
"""

import argparse
import time

from copamerge.bench.models import load_base
from copamerge.bench.zoo import open_zoo
from copamerge.suites.mini import MINI


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=200)
    items = parser.parse_args().items
    zoo = open_zoo()
    model = load_base(zoo.base)
    samples = MINI.by_name["vqa"].samples("test", items)
    for label, adapter in (("base", None), ("adapter", zoo.adapters("own")["vqa"])):
        with model.use(adapter):
            for batch in (1, 20, 100):
                started = time.perf_counter()
                model.answer(samples, 16, batch)
                rate = items / (time.perf_counter() - started)
                print(f"{label:8} batch {batch:3}: {rate:6.0f} answers/s")


if __name__ == "__main__":
    main()
