"""Medians, and turns between the sides of a comparison."""

import statistics
import time


def median_and_spread(seconds):
    """Return the median and the half quartile distance as a share of it."""
    quarters = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return quarters[1], (quarters[2] - quarters[0]) / 2 / quarters[1]


def interleave(sides, rounds):
    """Time functions in turns, after one round that does not count. Returns name -> seconds of each round.
    Idle threads of either side spin for a while before they sleep: a pause keeps them off the other side's time, and a call that is not
    timed wakes the side's own.
    """
    seconds = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, run in sides.items():
            time.sleep(0.05)
            if round_ and seconds[name] and seconds[name][-1] < 0.5:
                run()
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def take_turns(sides, rounds):
    """Ask sides for measurements in turns, after one round that does not count; each round begins with another side.
    Args: sides, name -> function that measures once and returns a dictionary of numbers.
    Returns: name -> list of what each round returned.
    """
    names, found = list(sides), {name: [] for name in sides}
    for round_ in range(rounds + 1):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            result = sides[name]()
            if round_:
                found[name].append(result)
    return found
