"""The command ``sceneleap <verb>``: each verb is one program, imported when it is named."""

import runpy
import sys

from sceneleapultra import __version__
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.typed import start_verb

# {verb: (module, what it does)}; ``--help`` of a verb comes from its module.
VERBS = {
    "train": ("train_lightning", "train a model, or continue a run"),
    "test": ("test_lightning", "evaluate a checkpoint and the baselines in simulation"),
    "sweep": ("scripts.sweep", "search settings for the best training, and continue a search"),
    "compare": ("scripts.compare", "what differs between runs: settings, data, code, curves, success"),
    "registry": ("scripts.registry", "keep models by name and version; promote the tested one"),
    "plan": ("scripts.plan", "foretell the memory of a training step, for any GPU, on a CPU"),
    "predict": ("scripts.predict", "generate grasps for your own cloud or mesh"),
    "hand": ("scripts.hand", "lead a real hand to a grasp: plan, play, release"),
    "generate": ("scripts.generate_dataset", "make a data set: scenes, views, grasps tested in simulation"),
    "doctor": ("scripts.doctor", "look at a hand's file, propose what its parts mean, write its card"),
    "convert": ("scripts.convert_dataset", "turn a foreign data set into a store"),
    "inspect": ("scripts.inspect_dataset", "check a store and look at it"),
    "view": ("scripts.view", "look at stores, results and predictions in 3D, in a browser"),
    "store": ("scripts.store", "verify stores, list them, migrate and copy them"),
    "export": ("scripts.export_model", "write a model as a bundle that stands by itself"),
    "prune": ("scripts.prune_model", "remove hidden units of a trained model, to train the smaller one on"),
    "serve": ("scripts.serve", "answer requests for grasps over HTTP"),
    "serve-tool": ("scripts.serve_tool", "offer a service's grasps to a language model (MCP)"),
    "export-data": ("scripts.export_dataset", "write a store in a foreign format"),
    "statistics": ("scripts.compute_statistics", "measure the pose statistics that training normalizes by"),
    "self-train": ("scripts.self_train", "run a round of self-training: scenes, grasps, training, test"),
    "info": ("scripts.info", "say what is installed, for a report of a bug"),
    "active-learning": (
        "scripts.active_learning",
        "choose which of a model's grasps are simulated, for a scorer",
    ),
    "self-train-data": ("scripts.self_train_data", "test a model's grasps in simulation, to train on them"),
}


def usage() -> str:
    """Return the help of the command itself."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {summary}" for verb, (_, summary) in VERBS.items()]
    return "\n".join(
        ["usage: sceneleap <verb> ...", "", *lines, "", "sceneleap <verb> --help lists its options.", ""]
    )


def main() -> None:
    """Run the program that the first word names with the remaining words."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        sys.stdout.write(usage())
    elif verb == "--version":
        sys.stdout.write(f"sceneleapultra {__version__}\n")
    elif verb not in VERBS:
        sys.stderr.write(f"{unknown_name('verb', verb, VERBS)}\n")
        raise SystemExit(2)
    else:
        del sys.argv[1]
        start_verb(verb, {name: module for name, (module, _) in VERBS.items()})
        # As __main__ with a spec: the processes that a program starts find it again by its module's name.
        runpy.run_module(f"sceneleapultra.{VERBS[verb][0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
