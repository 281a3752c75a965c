"""Text in, text out: `python -m ds_mlir generate | embed | calibrate | compile | eval | compare | train`."""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import sys

from ds_mlir import comparison, compiler, errors, evaluate, model, moments
from ds_mlir.text import TextStreamer
from ds_mlir.training import command as training


def _parser(evaluator: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ds_mlir", description="Run and make packages of compiled transformer models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    generate = commands.add_parser("generate", help="continue a text, or answer in a chat")
    generate.add_argument("package")
    generate.add_argument("prompt", help="the text; - reads standard input")
    generate.add_argument("-n", "--max-new-tokens", type=int, default=128)
    generate.add_argument("--chat", action=argparse.BooleanOptionalAction, help="use the model's chat template (default: if it has one)")
    generate.add_argument("--system", help="the system message of the chat")
    generate.add_argument("--temperature", type=float, help="sample; without any sampling option the answer is greedy")
    generate.add_argument("--top-k", type=int)
    generate.add_argument("--top-p", type=float)
    generate.add_argument("--min-p", type=float)
    generate.add_argument("--repetition-penalty", type=float)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end at this text; may be repeated")
    generate.add_argument("-t", "--threads", type=int)

    embed = commands.add_parser("embed", help="embed texts")
    embed.add_argument("package")
    embed.add_argument("text", nargs="*", help="the texts; none: one a line from standard input")
    embed.add_argument("-o", "--output", help="write a .npy file in place of JSON lines")
    embed.add_argument("-t", "--threads", type=int)

    calibrate_ = commands.add_parser("calibrate", help="measure what matrices multiply on a text, for compile --calibration")
    calibrate_.add_argument("model", help="a Hugging Face folder or a GGUF file")
    calibrate_.add_argument("--text", type=pathlib.Path, required=True, metavar="FILE", help="a UTF-8 text")
    calibrate_.add_argument("-o", "--output", required=True, metavar="FILE", help="the .safetensors file to write")
    calibrate_.add_argument("--tokens", type=int, default=24576, metavar="N", help="of the text (default: %(default)s)")
    calibrate_.add_argument("--task")
    calibrate_.add_argument("-t", "--threads", type=int)

    compile_ = commands.add_parser("compile", help="compile a model to a package")
    compile_.add_argument("model", help="a Hugging Face folder or a GGUF file")
    compile_.add_argument("-o", "--output", required=True, metavar="PACKAGE")
    compile_.add_argument("--weights", choices=("f32", "bf16", "f16"), help="of matrices (default: f32, with CUDA bf16)")
    compile_.add_argument("--activations", choices=("f32", "int8"), help="of quantized matrices in steps of many tokens (default: f32)")
    compile_.add_argument("--cache", choices=("f32", "bf16", "int8"), default="f32", help="what a decoder keeps of past tokens")
    compile_.add_argument("--quantize", metavar="SCHEME", help="int8, int4-g64, fp8, moq4 and the like, stored, or a JSON file of schemes")
    compile_.add_argument("--calibration", metavar="FILE", help="of calibrate: quantized matrices are rounded with regard to it")
    compile_.add_argument("--scale-inputs", action="store_true", help="with --calibration: what matrices multiply most is rounded finest")
    compile_.add_argument("--fusion", choices=("none", "generic", "specialized"), default="specialized")
    compile_.add_argument("--context", type=int)
    compile_.add_argument("--max-batch", type=int)
    compile_.add_argument("--max-rows", type=int)
    compile_.add_argument("--strict", action="store_true", help="a fusion that no kernel serves is an error")
    compile_.add_argument("--target", default="cpu", metavar="LIST", help="cpu, cuda:ARCH,..., or both (default: %(default)s)")
    compile_.add_argument("--tuning", metavar="FILE", help="with CUDA: entries that say how products are cut (docs/cuda.md)")
    compile_.add_argument("--target-cpu")
    compile_.add_argument(
        "--cublaslt",
        nargs="?",
        type=int,
        const=True,
        metavar="ROWS",
        help="with CUDA: rows of a step from which products are cuBLASLt's, where it is there (without a number: 512)",
    )
    compile_.add_argument("--task")

    eval_ = commands.add_parser("eval", prog=evaluator, help="measure perplexity on a text, or accuracy on labelled texts")
    eval_.add_argument("package")
    data = eval_.add_mutually_exclusive_group(required=True)
    data.add_argument("--text", type=pathlib.Path, metavar="FILE", help="a UTF-8 text: perplexity of a causal language model")
    data.add_argument(
        "--labels", type=pathlib.Path, metavar="FILE", help="a .jsonl, .csv or .tsv of text and label: accuracy of a classifier"
    )

    compare = commands.add_parser("compare", help="compile variants of a model and print their size, speed, and perplexity or accuracy")
    compare.add_argument("model", help="a Hugging Face folder or a GGUF file")
    measured = compare.add_mutually_exclusive_group(required=True)
    measured.add_argument("--text", type=pathlib.Path, metavar="FILE", help="a UTF-8 text: perplexity of a causal language model")
    measured.add_argument("--labels", type=pathlib.Path, metavar="FILE", help="as of eval: accuracy of a classifier")
    compare.add_argument(
        "--variants",
        default=",".join(comparison.VARIANTS),
        help="f32, bf16, f16 or schemes of --quantize, with commas (default: %(default)s)",
    )

    compare.add_argument("--calibration", metavar="FILE", help="of calibrate, for the quantized variants")

    training.add_arguments(commands.add_parser("train", help="train a model as a JSON file says"))

    for command in (generate, embed, eval_):
        command.add_argument("--device", help="cpu, cuda, cuda:N or emulate (default: what the package has code for)")
    for command in (calibrate_, eval_, compare):
        command.add_argument("--window", type=int, metavar="N", help=f"tokens of a run (default: {evaluate.WINDOW}, or a shorter context)")
    for command in (eval_, compare):
        command.add_argument("--stride", type=int, metavar="N", help="tokens from one window to the next (default: those of the window)")
        command.add_argument("-t", "--threads", type=int)
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _standard_input() -> str:
    if sys.stdin is None:
        raise errors.Missing("missing: standard input: expects text, found it closed")
    if not hasattr(sys.stdin, "buffer"):  # text that stands in for it
        return sys.stdin.read()
    try:
        return sys.stdin.buffer.read().decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise errors.BadData(
            f"bad data: standard input: byte {error.start}: expects UTF-8, found {error.object[error.start]:#04x}"
        ) from error


def _generate(options) -> None:
    loaded = model.load(options.package, options.device, options.threads)
    tokenizer = loaded.tokenizer
    prompt = _standard_input() if options.prompt == "-" else options.prompt
    chat = options.chat if options.chat is not None else bool(tokenizer.chat_template)
    if chat:
        messages = [{"role": "system", "content": options.system}] if options.system else []
        ids = tokenizer.encode(tokenizer.apply_chat_template([*messages, {"role": "user", "content": prompt}]), special=False)
    else:
        ids = tokenizer.encode(prompt)
        sys.stdout.write(prompt)
    sampling = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    result = loaded.generate(
        ids,
        max_new_tokens=options.max_new_tokens,
        do_sample=any(value is not None for value in sampling.values()),
        repetition_penalty=options.repetition_penalty,
        seed=options.seed,
        stop_strings=options.stop,
        streamer=TextStreamer(tokenizer),
        return_dict_in_generate=True,
        **sampling,
    )
    if result.finish[0] == "length":
        print(f"[ended after {result.lengths[0]} tokens: length]", file=sys.stderr)


def _embed(options) -> None:
    import numpy as np

    loaded = model.load(options.package, options.device, options.threads)
    texts = options.text or [line.rstrip("\n") for line in io.StringIO(_standard_input(), newline="\n")]
    if not texts:
        raise errors.InvalidArgument("invalid argument: expects at least one text, got none")
    vectors = loaded.encode(texts)
    if options.output:
        try:
            np.save(options.output, vectors)
        except OSError as error:
            raise errors.CannotWrite(f"cannot write '{options.output}': {error.strerror}") from error
        return
    for text, vector in zip(texts, vectors, strict=True):
        print(json.dumps({"text": text, "embedding": [float(np.format_float_positional(value)) for value in vector]}, ensure_ascii=False))


def _compile(options) -> None:
    names = ("weights", "quantize", "activations", "cache", "calibration", "scale_inputs", "fusion", "context", "max_batch")
    names += ("max_rows", "target", "tuning", "target_cpu", "cublaslt", "task", "strict")
    compiler.compile(options.model, options.output, **{name: getattr(options, name) for name in names})


def _calibrate(options) -> None:
    names = ("tokens", "window", "threads", "task")
    result = moments.calibrate(options.model, options.text, options.output, **{name: getattr(options, name) for name in names})
    print(f"{result.path}: {result.moments} matrices of moments, {result.tokens} tokens")


def _eval(options) -> None:
    if options.labels:
        result = evaluate.accuracy(options.package, options.labels, threads=options.threads, device=options.device)
        line = f"accuracy {result.accuracy:.4f}: {result.correct} of {result.examples} examples"
    else:
        names = ("window", "stride", "threads", "device")
        result = evaluate.perplexity(options.package, options.text, **{name: getattr(options, name) for name in names})
        line = (
            f"perplexity {result.perplexity:.4f}: {result.nll:.6f} nats a token, {result.bits_per_byte:.4f} bits a byte, "
            f"{result.tokens} tokens in {result.windows} windows"
        )
    print(json.dumps(dataclasses.asdict(result)) if options.json else line)


def _compare(options) -> None:
    variants, shared = options.variants.split(","), {"threads": options.threads, "calibration": options.calibration}
    if options.labels:
        rows = comparison.compare_classifier(options.model, options.labels, variants, **shared)
    else:
        rows = comparison.compare(options.model, options.text, variants, window=options.window, stride=options.stride, **shared)
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    width = max(len("variant"), *(len(row.variant) for row in rows))
    if options.labels:
        print(f"{'variant':{width}}{'MB':>10}{'texts/s':>11}{'accuracy':>11}{'change':>13}")
        for row in rows:
            print(f"{row.variant:{width}}{row.megabytes:10.1f}{row.speed:11.1f}{row.accuracy:11.4f}{row.change:+7.2f} points")
        return
    print(f"{'variant':{width}}{'MB':>10}{'prefill tok/s':>16}{'decode tok/s':>15}{'perplexity':>13}{'change':>11}")
    for row in rows:
        numbers = f"{row.megabytes:10.1f}{row.prefill:16.1f}{row.decode:15.1f}{row.perplexity:13.4f}{row.change:+9.2f} %"
        print(f"{row.variant:{width}}{numbers}")


class _StandardOutput:
    """Standard output, whose errors name it."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def _checked(self, function, *arguments):
        try:
            return function(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise errors.CannotWrite(f"cannot write standard output: {error.strerror}") from error

    def write(self, text):
        return self._checked(self._stream.write, text)

    def flush(self):
        self._checked(self._stream.flush)


def main(arguments: list[str] | None = None, evaluator: str | None = None) -> int:
    """Run the command line and return its exit status: those of the tools.
    Args:
      evaluator: what the usage of `eval` calls itself.
    """
    options = _parser(evaluator).parse_args(arguments)
    try:
        commands = {
            "generate": _generate,
            "embed": _embed,
            "calibrate": _calibrate,
            "compile": _compile,
            "eval": _eval,
            "compare": _compare,
            "train": training.run,
        }
        if sys.stdout is None:
            if options.command in ("generate", "embed"):
                raise errors.CannotWrite("cannot write standard output: it is closed")
            commands[options.command](options)
        else:
            with contextlib.redirect_stdout(_StandardOutput(sys.stdout)):
                commands[options.command](options)
                sys.stdout.flush()
    except errors.Error as error:
        print(f"ds_mlir: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        place = f" '{error.filename}'" if error.filename else ""
        print(f"ds_mlir: cannot write{place}: {error.strerror or error}", file=sys.stderr)
        return errors.CannotWrite.code
    except KeyboardInterrupt:
        return 130
    return 0


def evaluate_main() -> int:
    """Run `ds-eval`, which is `python -m ds_mlir eval`, and return its exit status."""
    return main(["eval", *sys.argv[1:]], evaluator="ds-eval")


if __name__ == "__main__":
    sys.exit(main())
