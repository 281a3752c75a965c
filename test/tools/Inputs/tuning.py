"""Makes a file for --tuning of a file of --report-tuning: for each key another configuration than is taken. Arguments: SPACES OUT [BUILDER].

Prints the keys, and how many configurations there were.
"""

import json
import sys

KEY = ("arch", "builder", "weights", "n", "k", "rows", "norm", "form")
spaces = {}
for line in open(sys.argv[1]):
    candidate = json.loads(line)
    key = tuple(candidate[name] for name in KEY)
    if len(sys.argv) < 4 or candidate["builder"] == sys.argv[3]:
        spaces.setdefault(key, []).append(candidate)
with open(sys.argv[2], "w") as out:
    for key, space in sorted(spaces.items()):
        chosen = [candidate for candidate in space if candidate["chosen"]]
        assert len(chosen) == 1, key
        assert [candidate["us"] for candidate in space] == sorted(candidate["us"] for candidate in space), key
        other = next((candidate for candidate in space if not candidate["chosen"]), chosen[0])
        print(*key, len(space))
        entry = dict(zip(KEY, key)) | {"config": other["config"], "source": "asked"}
        out.write(json.dumps(entry) + "\n")
