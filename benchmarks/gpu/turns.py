"""Sides of a comparison in turns, and what came out of it."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from timing import median_and_spread, take_turns


def measure(sides, rounds, share=1.0):
    """Let sides take turns, after one round that does not count; each round begins with another side.
    Args: sides, name -> function that measures once and returns seconds; share, what the seconds are divided by.
    Returns: name -> {"us", "spread", "least_us"}: median, half quartile distance as a share of it, least.
    """
    turns = {name: (lambda run=run: {"seconds": run()}) for name, run in sides.items()}
    found = {}
    for name, rounds_of in take_turns(turns, rounds).items():
        times = [turn["seconds"] / share for turn in rounds_of]
        median, spread = median_and_spread(times)
        found[name] = {"us": round(median * 1e6, 3), "spread": round(spread, 4), "least_us": round(min(times) * 1e6, 3)}
    return found


def attempt(found, name, run):
    """Return `run()`, or None when it fails; then its message stands at found["errors"][name]."""
    try:
        return run()
    except Exception as error:
        found.setdefault("errors", {})[name] = message(error)
        return None


def message(error):
    """One line for an exception."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]
