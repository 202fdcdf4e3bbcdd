"""Answer requests for grasps over HTTP: POST /v1/grasps, in JSON or as .npz; / shows the last ones in 3D.

python scripts/serve.py leap_table
python scripts/serve.py bundles/leap_table --device cuda --host 0.0.0.0 --token-file token.txt

See docs/serving.md. SIGTERM ends it after what was begun is answered; SIGHUP loads the model's file again.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.console import card

_Engine = Literal["torch", "onnxruntime"]


def serve(
    checkpoint: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    token_file: Path | None = None,
    engine: _Engine = "torch",
    device: str = "cpu",
    plugins: list[str] | None = None,
    completion: str | None = None,
    hypotheses: int = 1,
    limits: Annotated[dict[str, Any], cli.Settings("serving/limits")],
) -> None:
    """Serve a model.

    Args:
        checkpoint: a file, a bundle's folder, or the name of a shipped model
        host: address to listen at; from others than this machine only with --token-file
        port: 0 for a free one
        token_file: file of the token that clients must send
        engine: what computes grasps: torch, or onnxruntime with the graphs of a bundle
        device: where torch samples: cpu, cuda or cuda:<number>
        plugins: packages outside the project that the model is built from
        completion: checkpoint of scene completion, by which hidden parts of scenes count in clearances and approaches
        hypotheses: of each scene that the completion draws, of which the worst counts
        limits: what is taken at most

    Raises:
        FileNotFoundError: no such checkpoint or file.
        ValueError: an address or a limit that is none.
    """
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint
    from sceneleapultra.serving.limits import read_limits
    from sceneleapultra.serving.token import LOOPBACK, read_token

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{', '.join(missing)}: not installed. Run: python -m pip install 'sceneleapultra[serve]'"
        )
    work, service_limits = read_limits(limits)
    token = None if token_file is None else read_token(token_file)
    if token is None and host not in LOOPBACK:
        raise ValueError(
            f"--host {host} is reached from other machines: pass --token-file, a file of a token that clients must "
            "send."
        )
    find_checkpoint(checkpoint)
    if engine == "onnxruntime" and (device != "cpu" or plugins or completion is not None or hypotheses != 1):
        raise ValueError(
            "--engine onnxruntime runs graphs on the processor: --device, --plugins, --completion and --hypotheses "
            "need torch. Leave them away, or pass --engine torch."
        )

    from sceneleapultra.serving.app import build_app
    from sceneleapultra.serving.engine import Engine
    from sceneleapultra.serving.logs import log, log_to
    from sceneleapultra.serving.server import address, listen, run
    from sceneleapultra.serving.service import Service

    with listen(host, port) as listener:
        log_to()

        def load() -> Engine:
            if engine == "onnxruntime":
                return Engine.load_onnx(checkpoint)
            return Engine.load(
                checkpoint,
                device=device,
                plugins=plugins or [],
                batch=service_limits.batch,
                completion=completion,
                hypotheses=hypotheses,
            )

        service = Service(load, work, service_limits)
        url = address(listener)

        def say_ready() -> None:
            log("ready", model=checkpoint, hand=service.engine.hand.name, url=url, batch=service.engine.batch)
            card(
                f"{checkpoint} for {service.engine.hand.name}",
                {"grasps": f"POST {url}/v1/grasps", "page": f"{url}/", "schema": f"{url}/openapi.json"},
            )

        app = build_app(service, token=token, hosts=LOOPBACK if token is None else None)
        run(service, app, listener, say_ready)


def main() -> None:
    """Serve what the command line names."""
    cli.run(serve, __doc__)


if __name__ == "__main__":
    main()
