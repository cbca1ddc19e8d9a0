"""Tune three tasks with DSPy's optimizers, fused into one call and a call for each.

    python examples/dspy_optimizers.py

The model is a function that needs to be shown what to do, so this runs anywhere in a second. With
`mti.Model("openai/gpt-5-mini")` in its place it is a real run; `benchmarks/dspy_optimizers.py` does
that on data sets.
"""

import contextlib
import io
import json

import dspy

import mtiprompt as mti

TRIAGE = mti.combine(
    "message -> mood: Literal['good', 'bad']",
    "message -> product: Literal['kettle', 'toaster']",
    "message -> urgent: bool",
)
ROWS = [
    {
        "inputs": {"message": f"{mood} {product}{', come now' if urgent else ''}!"},
        "outputs": {"mood": found, "product": product, "urgent": urgent},
    }
    for mood, found in (("I love my", "good"), ("I hate my", "bad"))
    for product in ("kettle", "toaster")
    for urgent in (True, False)
]


def clerk(request: mti.Request) -> str:
    """Look for words; what is urgent the clerk knows only from examples."""
    text = request.messages[-1].content
    shown = any(message.role == "assistant" for message in request.messages)
    answers = {
        "mood": "good" if "love" in text else "bad",
        "product": "kettle" if "kettle" in text else "toaster",
        "urgent": shown and "now" in text,
    }
    return json.dumps({key: answers[key] for key in request.schema.schema["properties"]})


def main() -> None:
    dspy.disable_logging()
    examples = mti.dspy_examples(TRIAGE, ROWS)
    metric = mti.dspy_metric(TRIAGE)
    evaluate = dspy.Evaluate(devset=examples, metric=metric)
    few = {"metric": metric, "metric_threshold": 1.0, "max_bootstrapped_demos": 2}
    few["max_labeled_demos"] = 2
    optimizers = {
        "BootstrapFewShot": dspy.BootstrapFewShot(**few),
        "BootstrapRS": dspy.BootstrapRS(**few, num_candidate_programs=2, num_threads=2),
    }
    for name, optimizer in optimizers.items():
        for arm in (mti.Plan.fused, mti.Plan.split):
            model = mti.FunctionModel(clerk)
            module = mti.to_dspy(TRIAGE, plan=arm(TRIAGE), model=model)
            before = evaluate(module).score
            spent = len(model.requests)
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                tuned = optimizer.compile(module, trainset=examples)
            spent = len(model.requests) - spent
            after = evaluate(tuned).score
            print(f"{name:17} {arm.__name__:6} {spent:4} calls  {before:5.1f} -> {after:5.1f}")


if __name__ == "__main__":
    main()
