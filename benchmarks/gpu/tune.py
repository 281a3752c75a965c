"""Products cut in several ways, in turns: what `benchmarks/gpu/tune` makes tuning entries of."""

from . import device
from .package import packages
from .products import Ours, launches_of
from .turns import attempt, measure

PROGRAMS = ("decode", "prefill")


def candidates_of(folder, base):
    """The packages of a case: candidate -> Package, and candidate -> key -> configuration; candidate 0 is the package itself."""
    found = packages(folder)
    variants = {
        package.description["tuning"]["index"]: package
        for package in found.values()
        if package.description.get("tuning", {}).get("base") == base
    }
    configs = {index: keyed(package.description["tuning"]["entries"]) for index, package in variants.items()}
    configs[0] = keyed(next(iter(variants.values())).description["tuning"]["taken"])
    return {0: found[base], **variants}, configs


def keyed(entries):
    """Configurations by key, from JSON."""
    return {tuple(key): config for key, config in entries}


def key_for(keys, product, rows):
    """The key of a product with so many rows by which it is cut on the machine of its package, or None."""
    storage = product.storage
    wanted = (storage.label, -(-storage.rows // 16) * 16, storage.depth, rows, False, "plain")
    fitting = [key for key in keys if key[2:] == wanted]
    kernels, stages = product.package.table["kernels"], product.package.stages_of(product.program, product.launch)
    names = [kernels[stage["kernel"]]["name"] for stage in stages]  # those that `arch` has
    return next((key for key in fitting if any(f"_{key[1]}" in name for name in names)), None)


def product_like(package, product):
    """The product of another package that is the same one."""
    for other in package.products(product.program):
        if (other.storage.name, other.launch) == (product.storage.name, product.launch):
            return other
    return None


def measure_key(settings, found, configs, product, key, rows):
    """Time every candidate of a key in turns. Returns: the key, configurations, checks and times by candidate."""
    result, graphs = {"key": key, "configs": {}, "checks": {}}, {}
    for index, package in sorted(found.items()):
        config = configs[index].get(key)
        other = product if index == 0 else product_like(package, product)
        if config is None or other is None:
            continue
        name = str(index)
        ours = attempt(result, name, lambda other=other: Ours(other))
        check = ours and attempt(result, f"{name} check", lambda ours=ours: ours.check(rows))
        if not check:
            continue
        result["configs"][name], result["checks"][name] = config, check
        count = launches_of(ours.bytes, len(ours.copies))
        graph = attempt(result, name, lambda ours=ours, count=count: device.Graph(ours.record(rows, count)))
        if graph is not None:
            graphs[name] = lambda graph=graph, count=count: device.seconds(graph) / count
    result["sides"] = measure(graphs, settings.rounds) if graphs else {}
    result["bytes"] = product.storage.bytes
    return result


def run(settings, name, emit):
    """Measure all candidates of a package's products."""
    found, configs = candidates_of(settings.packages, name)
    result = {"tokens": {}, "candidates": len(found), "ptxas": found[max(found)].description.get("ptxas", "")}
    device.load(found[0])  # chooses the machine
    for program in PROGRAMS:
        for product in found[0].products(program):
            for rows in sorted({key[5] for key in configs[0]}):
                key = key_for(configs[0], product, rows)
                label = f"{product.storage.rows}x{product.storage.depth} {product.storage.label} {rows}"
                if key is None or label in result["tokens"]:
                    continue
                result["tokens"][label] = measure_key(settings, found, configs, product, key, rows)
                device.release()
                emit(result)
    return result
