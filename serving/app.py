"""The service over HTTP: its paths, its schema (OpenAPI), how it refuses."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sceneleapultra import __version__
from sceneleapultra.serving.guard import Guard
from sceneleapultra.serving.logs import log
from sceneleapultra.serving.problems import KIND, Refusal, as_response
from sceneleapultra.serving.schema import JSON, NPZ, GraspsAnswer, GraspsRequest, ModelCard, Problem
from sceneleapultra.serving.service import Service, media_type

_SCHEMAS = "#/components/schemas/"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REFUSALS = (401, 408, 413, 415, 421, 422, 429, 503)
_PROBLEM = {"content": {KIND: {"schema": {"$ref": f"{_SCHEMAS}Problem"}}}}


def build_app(service: Service, *, token: str | None, hosts: tuple[str, ...] | None) -> Guard:
    """Return the service as an ASGI application.

    Args:
        service: what answers.
        token: see :class:`~sceneleapultra.serving.guard.Guard`.
        hosts: likewise.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    # FastAPI's pages load their scripts from elsewhere.
    app = FastAPI(
        title="SceneLeapUltra", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    _add_grasps(app, service)
    _add_looks(app, service)
    _add_admin(app, service, guarded=token is not None)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _defect)
    paths = tuple(route.path for route in app.routes if hasattr(route, "path"))
    return Guard(app, token=token, hosts=hosts, metrics=service.metrics, paths=paths)


def _add_grasps(app: FastAPI, service: Service) -> None:
    body = {JSON: {"schema": {"$ref": f"{_SCHEMAS}GraspsRequest"}}, NPZ: _BINARY}

    @app.post(
        "/v1/grasps",
        response_class=Response,
        responses={
            200: {"content": {JSON: {"schema": {"$ref": f"{_SCHEMAS}GraspsAnswer"}}, NPZ: _BINARY}},
            **{status: {**_PROBLEM, "description": "refused"} for status in _REFUSALS},
        },
        openapi_extra={"requestBody": {"required": True, "content": body}},
    )
    async def grasps(request: Request) -> Response:
        """Generate grasps for the object of a cloud or a depth image."""
        kind = media_type(request)
        accepted = request.headers.get("accept", "")
        binary = NPZ in accepted or (kind == NPZ and JSON not in accepted)
        request_id = request.scope["request_id"]
        content = await service.grasps(request, kind=kind, binary=binary, request_id=request_id)
        return Response(content, media_type=NPZ if binary else JSON)

    @app.get("/v1/model", response_model=ModelCard)
    async def model() -> ModelCard:
        """Say which model answers, for which hand, within which limits."""
        return service.card()


def _add_looks(app: FastAPI, service: Service) -> None:
    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """Say that the process answers."""
        return "alive\n"

    @app.get(
        "/readyz", response_class=PlainTextResponse, responses={503: _PROBLEM | {"description": "not now"}}
    )
    async def readyz() -> str:
        """Say whether requests are answered."""
        service.check_ready()
        return "ready\n"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        """Show the last grasps in 3D."""
        return HTMLResponse(await service.page(), headers={"Cache-Control": "no-store"})


def _add_admin(app: FastAPI, service: Service, *, guarded: bool) -> None:
    @app.post(
        "/admin/reload", response_model=ModelCard, responses={403: _PROBLEM | {"description": "no token"}}
    )
    async def reload() -> ModelCard:
        """Load the model's file again; the model of before answers until that is done."""
        if not guarded:
            raise Refusal(
                403, "This needs a service with a token: sceneleap serve --token-file. Or send it SIGHUP."
            )
        return await service.reload()


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal | HTTPException)
    request_id = request.scope["request_id"]
    if isinstance(error, Refusal):
        return as_response(error.status, str(error), request_id, error.headers)
    sentence = (
        f"{request.method} {request.url.path[:80]}: {error.detail}. See /openapi.json for what there is."
    )
    return as_response(error.status_code, sentence, request_id, dict(error.headers or {}))


async def _left(request: Request, _: Exception) -> Response:
    log("client left", request_id=request.scope["request_id"])
    return Response(status_code=499)


async def _defect(request: Request, error: Exception) -> JSONResponse:
    request_id = request.scope["request_id"]
    logging.getLogger(__name__).error(
        "defect", exc_info=error, extra={"fields": {"request_id": request_id, "path": request.url.path}}
    )
    return as_response(
        500, "A defect of the service; its log holds more under this request's id.", request_id, {}
    )


def _schema(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the models of bodies that are read by hand."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        models = [(GraspsRequest, "validation"), (GraspsAnswer, "serialization"), (Problem, "serialization")]
        _, found = models_json_schema(models, ref_template=f"{_SCHEMAS}{{model}}")  # type: ignore[arg-type]
        document.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
        app.openapi_schema = document
    return app.openapi_schema
