"""What a measurement means: the work in a case, shares of the machine's limits, ratios, and whether a bar is met. Pure functions."""

BYTES = {"f32": 4, "bf16": 2, "f16": 2, "int8": 8.5 / 8, "int4": 4.5 / 8}
AGREEMENT = {"f32": 0.99999, "bf16": 0.995, "int8": 0.95, "int4": 0.9}  # the least cosine


def layer_matrices(shape):
    """Return the (inputs, outputs) of the matrices of one layer."""
    hidden, inner = shape["hidden"], shape["inner"]
    kv = shape.get("kv_width", hidden)
    mlp = [(hidden, inner)] * (2 if shape.get("gated") else 1) + [(inner, hidden)]
    return [(hidden, hidden), (hidden, kv), (hidden, kv), (hidden, hidden), *mlp]


def weight_bytes(shape, precision):
    """Return the bytes of matrices that one step of a decoder reads: its layers, and the head."""
    layers = shape["layers"] * sum(rows * columns for rows, columns in layer_matrices(shape))
    head = "int8" if precision == "int4" else precision  # a table as well, which keeps 8 bits
    return layers * BYTES[precision] + shape["vocab"] * shape["hidden"] * BYTES[head]


def model_flops(shape, measure, batch, tokens):
    """Return the FLOPs of the products in one forward: two for a multiply-add; causal attention sees half; the head of a decoder, and
    what stands behind its last attention, are computed for the last token of a prompt. For `decode`, `tokens` are those in the cache.
    """
    per_token = 2 * shape["layers"] * sum(rows * columns for rows, columns in layer_matrices(shape))
    head = 2 * shape.get("vocab", 0) * shape["hidden"]
    pair = 4 * shape["layers"] * shape["hidden"]
    if measure == "encode":
        return batch * (tokens * per_token + tokens * tokens * pair)
    if measure == "prefill":
        behind = 2 * sum(rows * columns for rows, columns in layer_matrices(shape)[3:])
        return batch * (tokens * per_token - (tokens - 1) * behind + tokens * (tokens + 1) // 2 * pair + head)
    return batch * (per_token + tokens * pair + head)


def roofline_seconds(flops, read_bytes, peak, bandwidth):
    """Return the least time that the machine's limits allow."""
    return max(flops / peak, read_bytes / bandwidth)


def seconds_of(sides):
    """Return name -> seconds of the sides that were measured and whose answers agree."""
    return {name: side["seconds"] for name, side in sides.items() if "seconds" in side and side.get("answer", {"agrees": True})["agrees"]}


def fastest(seconds, ours="ours"):
    """Return the name of the fastest peer of name -> seconds, or None without peers."""
    peers = {name: value for name, value in seconds.items() if name != ours}
    return min(peers, key=peers.get) if peers else None


def speed_metrics(case, shape, seconds, limits, precision):
    """Return what the bars of a case speak of.
    Args: case, with `measure`, `batch`, `tokens`, `steps`; seconds, side -> median; limits, `f32` and `bf16` in FLOP/s, `read` in bytes/s.
    Returns: ratio, against the fastest peer (1 is equal, more is better for us); peak_share; read_share, of decoders.
    """
    mine, best = seconds["ours"], fastest(seconds)
    found = {}
    if best:
        found["ratio"] = seconds[best] / mine
    tokens = case["tokens"] + (case.get("steps", 0) // 2 if case["measure"] == "decode" else 0)
    found["peak_share"] = model_flops(shape, case["measure"], case["batch"], tokens) / (mine * limits.get(precision, limits["f32"]))
    if case["measure"] == "decode":
        found["read_share"] = weight_bytes(shape, precision) / (mine * limits["read"])
    return found


def product_metrics(rows, inputs, outputs, precision, seconds, limits):
    """Return ratio, peak_share and roofline_share of one matrix product."""
    flops, read = 2 * rows * inputs * outputs, inputs * outputs * BYTES[precision]
    mine, best = seconds["ours"], fastest(seconds)
    found = {"peak_share": flops / (mine * limits[precision])}
    found["roofline_share"] = roofline_seconds(flops, read, limits[precision], limits["read"]) / mine
    if best:
        found["ratio"] = seconds[best] / mine
    return found


def low_bits_metrics(seconds):
    """Return how much faster each precision of name -> seconds is than bf16."""
    return {f"{name}_speedup": seconds["bf16"] / value for name, value in seconds.items() if "bf16" in seconds and name != "bf16"}


def outside_metrics(steps, bare):
    """Compare the fusion levels by the time outside matrix products and weight reading.
    Args: steps, level -> seconds of a step; bare, seconds that the launches of matrix products alone take in `none`.
    Returns: for each other level its share of what `none` spends outside, and its speed end to end against `none`.
    """
    outside = {level: max(0.0, seconds - bare) for level, seconds in steps.items()}
    found = {"none_outside_of_step": outside["none"] / steps["none"]}
    for level in steps.keys() - {"none"}:
        found[f"{level}_outside"] = outside[level] / outside["none"] if outside["none"] else 0.0
        found[f"{level}_speedup"] = steps["none"] / steps[level]
    return found


def verdict(value, bar):
    """Judge one metric. Args: bar, with `at_least` or `at_most` or neither, and maybe `stretch`.
    Returns: `stretch`, `met`, `not met`, `short of stretch` where there is a stretch alone, or `not measured`.
    """
    if value is None:
        return "not measured"
    least = "at_most" not in bar
    holds = (lambda limit: value >= limit) if least else (lambda limit: value <= limit)
    if "stretch" in bar and holds(bar["stretch"]):
        return "stretch"
    limit = bar.get("at_least", bar.get("at_most"))
    if limit is None:
        return "short of stretch"
    return "met" if holds(limit) else "not met"


def smallest_cosine(found, expected):
    """Return the least cosine between rows, which are the last axis."""
    import numpy as np

    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    return float(np.min((found * expected).sum(-1) / np.maximum(norms, 1e-30)))


def answers_agree(found, expected, precision):
    """Compare two answers: logits [B, V], or hidden states [B, T, H].
    Returns: the least cosine of a row; of hidden states also that of a mean over the tokens, which is a sentence's vector; whether the
        greatest values are at the same places; and whether the answers agree. With low bits one token of thousands may go astray, so there
        the means must agree.
    """
    import numpy as np

    if (found.size, found.shape[-1]) != (expected.size, expected.shape[-1]):
        return {"cosine": None, "argmax_equal": False, "agrees": False}
    found, expected = found.reshape(expected.shape).astype(np.float64), expected.astype(np.float64)
    result = {"cosine": smallest_cosine(found, expected), "argmax_equal": bool((found.argmax(-1) == expected.argmax(-1)).all())}
    if found.ndim == 3:
        result["pooled_cosine"] = smallest_cosine(found.mean(1), expected.mean(1))
    judged = result["cosine"] if precision in ("f32", "bf16") else result.get("pooled_cosine", result["cosine"])
    return {**result, "agrees": judged > AGREEMENT[precision]}
