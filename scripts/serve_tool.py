"""Offer the grasps of a running service to a language model: Model Context Protocol, on standard input and output.

python scripts/serve_tool.py
python scripts/serve_tool.py --url http://robot:8090 --token-file token.txt

Needs the extra mcp. Start the service itself with scripts/serve.py, see docs/serving.md.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from importlib.util import find_spec
from pathlib import Path

from sceneleapultra.utils.core import cli


def serve_tool(*, url: str = "http://127.0.0.1:8090", token_file: Path | None = None) -> None:
    """Answer a language model's program until it closes the input.

    Args:
        url: of the service
        token_file: file of the token that it wants

    Raises:
        FileNotFoundError: no such file.
        ValueError: the extra is not installed.
    """
    if find_spec("mcp") is None:
        raise ValueError("mcp: not installed. Run: python -m pip install 'sceneleapultra[mcp]'")

    from sceneleapultra.serving.client import GraspClient
    from sceneleapultra.serving.token import read_token
    from sceneleapultra.serving.tool import build_tool

    token = None if token_file is None else read_token(token_file)
    build_tool(GraspClient(url, token=token)).run("stdio")


def main() -> None:
    """Serve what the command line names."""
    cli.run(serve_tool, __doc__)


if __name__ == "__main__":
    main()
