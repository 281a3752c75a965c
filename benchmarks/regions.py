"""Where the time of a traced step goes: by family of kernels, and by region of ops at two fusion levels. Pure functions."""

import re
import statistics


def average(side):
    """Return the median seconds of the step and of each launch over all turns, beside the description of the launches."""
    runs = [run for turn in side["turns"] for run in turn]
    launches = [statistics.median(values) for values in zip(*(run["launches"] for run in runs), strict=True)]
    return {"step": statistics.median(run["step"] for run in runs), "launches": launches, "description": side["description"]}


def seconds_in_families(level, families):
    """Return the seconds of the launches whose kernels are of these families."""
    pairs = zip(level["description"], level["launches"], strict=True)
    return sum(seconds for launch, seconds in pairs if launch["family"] in families)


def seconds_without_products(level):
    """Return the seconds of the launches that compute no matrix product and no attention: what is outside for certain."""
    pairs = zip(level["description"], level["launches"], strict=True)
    return sum(seconds for launch, seconds in pairs if not {"linear", "attention"} & {op["op"] for op in launch["ops"]})


def op_keys(launches):
    """Name the ops of each launch so that they are the same at every fusion level: by their weights, or by their module, kind and place.
    Args: launches, as in profile.json. Returns: a set for each launch.
    """
    seen, keys = {}, []
    for launch in launches:
        found = set()
        for op in launch["ops"]:
            if op.get("weights"):
                found |= {("weight", name, op["op"]) for name in op["weights"]}
            else:
                name = (op["module"], op["op"])
                seen[name] = seen.get(name, 0) + 1
                found.add((*name, seen[name]))
        keys.append(found)
    return keys


def region_seconds(region, unfused, fused):
    """Compare a region of ops at two fusion levels.
    Args: region, op key -> bool; unfused and fused, pairs of op keys and seconds of each launch.
    Returns: seconds of the fused launches that touch the region, and of the unfused launches that do the same ops, or None.
    """
    covered, after = set(), 0.0
    for keys, seconds in zip(*fused, strict=True):
        if any(map(region, keys)):
            covered |= keys
            after += seconds
    before = sum(seconds for keys, seconds in zip(*unfused, strict=True) if keys & covered)
    return (before, after) if covered and before and after else None


def matcher(patterns):
    """Return a predicate on op keys (see op_keys) of regular expressions on `op weight` or `op module index`."""
    compiled = [re.compile(pattern) for pattern in patterns]

    def matches(key):
        text = f"{key[2]} {key[1]}" if key[0] == "weight" else f"{key[1]} {key[0]} {key[2]}"
        return any(pattern.match(text) for pattern in compiled)

    return matches


def compare(patterns, levels, families):
    """Compare a region at the levels `none` and `specialized`.
    Returns: ratio; products_share, of matrix products in the unfused region, which no fusion takes away; seconds of both.
    """
    keys = {level: op_keys(levels[level]["description"]) for level in ("none", "specialized")}
    sides = [(keys[level], levels[level]["launches"]) for level in ("none", "specialized")]
    found = region_seconds(matcher(patterns), *sides)
    if found is None:
        return {}
    before, after = found
    covered = set().union(*(launch for launch in keys["specialized"] if any(map(matcher(patterns), launch))))
    bare = sum(
        seconds
        for launch, key, seconds in zip(levels["none"]["description"], *sides[0], strict=True)
        if launch["family"] in families and key & covered
    )
    return {"ratio": before / after, "products_share": bare / before, "unfused_seconds": before, "fused_seconds": after}
