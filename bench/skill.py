"""How often a scoring model that was trained on noise claims skill, and how often one with something to learn has it.

    python bench/skill.py --seeds 30

Each seed is 1,500 signals with six features, which come in bunches and overlap. Of the noise no feature tells anything;
else the log odds rise by 0.6 with each deviation of one, along a line or with its distance from the middle.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from examples_samples import examples
from tapewatch.strategies import load
from tapewatch.study.training import Asked, train

SIGNALS = 1_500
#: Name -> what a deviation adds to the log odds, and how.
KINDS = {"noise": (0.0, "line"), "line": (0.6, "line"), "bowl": (0.6, "bowl")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    asked = parser.parse_args()
    for name, (effect, shape) in KINDS.items():
        seeds = range(asked.first, asked.first + asked.seeds)
        made = (examples(SIGNALS, effect, seed, shape) for seed in seeds)
        documents = [train(load("scalp"), ["1m"], one, Asked(seed=seed)) for seed, one in zip(seeds, made, strict=True)]
        skilled = sum(document.skill for document in documents)
        mean = sum(document.judged.skill for document in documents) / len(documents)
        print(f"{name:<6} {skilled} of {len(documents)} have skill; {mean:+.1%} on average", flush=True)


if __name__ == "__main__":
    main()
