"""How a service refuses: a status, and a sentence in the form of RFC 9457."""

from http import HTTPStatus

from starlette.responses import JSONResponse

from sceneleapultra.serving.schema import Problem as Body

KIND = "application/problem+json"


class Refusal(Exception):
    """A request is not answered.

    Args:
        status: of HTTP.
        sentence: why, and what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.status = HTTPStatus(status)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def as_response(status: int, sentence: str, request_id: str, headers: dict[str, str]) -> JSONResponse:
    """Return a problem as an answer of HTTP; a sentence may quote what was sent."""
    sentence = sentence.encode(errors="replace").decode()
    body = Body(title=HTTPStatus(status).phrase, status=status, detail=sentence, request_id=request_id)
    return JSONResponse(body.model_dump(), status, headers, media_type=KIND)
