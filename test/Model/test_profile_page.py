"""The profile's page as a browser shows it: its script runs, every section has its rows, the timeline and the roofline are drawn."""

import html
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import PIL.Image
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "release" / "bin"
MACHINE = ROOT / "test" / "Transforms" / "Inputs" / "machine.json"
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
WIDTH, HEIGHT = 1200, 5000

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium-headless-shell, chromium or google-chrome")

ERRORS = """<script>
window.errors = [];
addEventListener("error", (event) => errors.push(event.message));
</script>"""

# Reads the page as it is shown, then does what a reader does, and leaves what was found in an element.
PROBE = """<script>
const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
const boxOf = (selector) => { const box = document.querySelector(selector)?.getBoundingClientRect();
  return box ? [box.left, box.top, box.right, box.bottom].map(Math.round) : null; };
const pointAt = (target, x, y) => target.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y, bubbles: true }));
function look() {
  return {
    visible: [...document.querySelectorAll("section")].filter((one) => !one.hidden).map((one) => one.id),
    tiles: texts("#tiles b"), modules: texts("#tree tbody tr").length, kernels: texts("#kernel-table tbody tr td:first-child"),
    regions: texts("#region-list summary").length, circles: texts("#roof circle").length, roofs: texts("#roof line.roof").length,
    findings: texts("#finding-list li").length, predictions: texts("#prediction-list")[0], notes: texts("#notes li"),
    spans: boxOf("#spans"), roof: boxOf("#roof svg"), title: document.title,
    wide: document.documentElement.scrollWidth > innerWidth };
}
const found = { first: look(), errors };
if (program) {
  const canvas = byId("spans"), box = canvas.getBoundingClientRect(), [thread, launch, begin, end] = program.timeline[0];
  const x = box.left + view.left + (begin + end) / 2 / view.to * (box.width - view.left - 8);
  const y = box.top + view.top + (thread + .5) * view.laneHeight;
  pointAt(canvas, x, y);
  found.tip = byId("tip").hidden ? null : byId("tip").textContent;
  found.expectedTip = program.launches[launch].kernel;
  canvas.dispatchEvent(new WheelEvent("wheel", { clientX: x, clientY: y, deltaY: -100, cancelable: true }));
  found.zoomed = view.to - view.from;
  canvas.dispatchEvent(new MouseEvent("dblclick"));
  found.all = view.to - view.from;
  byId("open-all").click();
  found.opened = texts("#tree tbody tr").length;
  byId("close-all").click();
  found.closed = texts("#tree tbody tr").length;
  const circle = document.querySelector("#roof circle").getBoundingClientRect();
  pointAt(document.querySelector("#roof circle"), circle.left + 1, circle.top + 1);
  found.pointTip = byId("tip").textContent;
  found.others = [...byId("programs").children].slice(1).map((button) => { button.click(); return look(); });
  byId("programs").children[0].click();
}
const left = document.createElement("pre");
left.id = "probe";
left.hidden = true;
left.textContent = JSON.stringify(found);
document.body.append(left);
</script></body>"""


def browse(*options):
    command = (BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}", *options)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def probe(page, tmp_path):
    text = page.read_text()
    watched = tmp_path / ("watched-" + page.name)
    watched.write_text(text.replace("<head>", "<head>" + ERRORS, 1).replace("</body>", PROBE, 1))
    shown = browse("--dump-dom", watched.as_uri())
    found = re.search(r'<pre id="probe"[^>]*>(.*?)</pre>', shown, re.DOTALL)
    assert found, "the page's script did not come to its end: " + shown[-2000:]
    return json.loads(html.unescape(found[1]))


def screenshot(page, tmp_path):
    """Pixels [height][width][3] of 8 bits."""
    file = tmp_path / "shot.png"
    browse(f"--screenshot={file}", page.as_uri())
    return np.asarray(PIL.Image.open(file).convert("RGB"))


def profile(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def modules_of(module):
    return 1 + sum(modules_of(child) for child in module["children"])


def check(found, program, has_machine):
    """What a page shows of a program."""
    assert set(found["visible"]) == {"summary", "timeline", "roofline", "modules", "kernels", "regions", "predictions", "findings"}
    assert len(found["tiles"]) == 6 + has_machine
    assert not any(word in tile for tile in found["tiles"] for word in ("NaN", "undefined", "Infinity"))
    assert all(name.startswith(kernel["name"]) for name, kernel in zip(found["kernels"], program["kernels"], strict=True))
    assert found["regions"] == sum(len(kernel["ops"]) > 1 for kernel in program["kernels"])
    computing = [one for one in program["kernels"] if one["flops"] > 0 and one["bytes"] > 0 and one["latency_ns"] > one["idle_ns"]]
    assert found["circles"] == len(computing)
    assert (found["roofs"] > 1) == has_machine
    assert found["findings"] == max(1, len(program["findings"]))
    assert ("need a machine" in found["predictions"]) != has_machine
    assert 1 < found["modules"] <= modules_of(program["modules"])
    assert not found["wide"], "the page is wider than its window"


@pytest.mark.parametrize("has_machine", [True, False])
def test_a_browser_shows_the_page(tiny_llama, tmp_path, has_machine):
    page, data = tmp_path / "p.html", tmp_path / "p.json"
    machine = json.loads(MACHINE.read_text())
    (limits,) = machine["limits"]
    limits.update(flops_f32=1e11, flops_bf16=2e11, l2_read=1e11, l3_read=3e10, memory_read=1e10)
    (tmp_path / "machine.json").write_text(json.dumps(machine))
    options = ("--profile-machine", tmp_path / "machine.json") if has_machine else ()
    done = profile(BIN / "ds-bench", tiny_llama, "-p", 8, "-n", 4, "-r", 2, "-t", 1, f"--profile={page}", f"--profile={data}", *options)
    assert done.returncode == 0, done.stderr
    programs = json.loads(data.read_text())["programs"]
    found = probe(page, tmp_path)
    assert found["errors"] == []
    assert found["first"]["title"].startswith("Profile of ")
    assert len(programs) == 1 + len(found["others"]) > 1
    for shown, program in zip((found["first"], *found["others"]), programs, strict=True):
        check(shown, program, has_machine)
    assert found["expectedTip"] in found["tip"]
    assert found["pointTip"].splitlines()[0] in {kernel["name"] for kernel in programs[0]["kernels"]}
    assert found["zoomed"] < found["all"]
    assert found["closed"] == 1 < found["first"]["modules"] <= found["opened"] == modules_of(programs[0]["modules"])
    pixels = screenshot(page, tmp_path)
    assert pixels.shape[:2] == (HEIGHT, WIDTH)
    for place in ("spans", "roof"):  # a colour a family, text and lines: more than a blank box has
        left, top, right, bottom = found["first"][place]
        colors, counts = np.unique(pixels[top:bottom, left:right].reshape(-1, 3), axis=0, return_counts=True)
        vivid = counts[np.ptp(colors.astype(int), axis=1) > 60].sum()
        assert vivid > 200, f"{place}: {vivid} pixels of {len(colors)} colours"


def test_a_browser_shows_a_failing_run(tiny_llama, tmp_path):
    page = tmp_path / "failed.html"
    done = profile(BIN / "ds-run", tiny_llama, "--tokens", "999999", f"--profile={page}")
    assert done.returncode == 2, done.stderr
    found = probe(page, tmp_path)
    assert found["errors"] == []
    assert found["first"]["visible"] == []
    assert any("expects" in note for note in found["first"]["notes"])
