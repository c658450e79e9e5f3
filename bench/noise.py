"""How often a search among noise is believed, and how often one that found a planted edge.

    python bench/noise.py --seeds 100

Each seed is a random walk of 20,000 minutes; 20 sets are tried over it with an account that pays nothing, in which
noise looks best, and the best one is judged as `optimize` judges it. Hashes enter at random; crossings are averages of
many lengths, so that sets are like each other. The edge follows one of the hashes: a drift for 20 minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from edge_markets import crossings, hashed, lengths, market, salts, searched
from tapewatch.study.judgement import JudgedBy, judge

SETS, BARS = 20, 20_000
#: Name -> strategy, its sets, and the drift in deviations of a minute.
SEARCHES = {
    "hashes": (hashed(), salts(SETS), 0.0),
    "crossings": (crossings(), lengths(SETS), 0.0),
    "edge of 0.08": (hashed(), salts(SETS), 0.08),
    "edge of 0.15": (hashed(), salts(SETS), 0.15),
    "edge of 0.3": (hashed(), salts(SETS), 0.3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    asked = parser.parse_args()
    for name, (whole, sets, edge) in SEARCHES.items():
        believed, r = 0, 0.0
        for seed in range(asked.first, asked.first + asked.seeds):
            with tempfile.TemporaryDirectory() as folder:
                sweep, trials = searched(market(Path(folder), seed, edge=edge, bars=BARS), whole, sets)
                judged = judge(sweep, trials, JudgedBy(lambda _: [], seed=seed))
            believed += judged.survives
            r += judged.evidence.bootstrapped.expectancy_r.value / asked.seeds
        print(f"{name:<14} {believed} of {asked.seeds} believed; the best set brings {r:+.3f} R on average", flush=True)


if __name__ == "__main__":
    main()
