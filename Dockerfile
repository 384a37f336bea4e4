# The REST adapter alone: no torch, no Triton. docker-compose.yml runs it beside NVIDIA's image.
FROM python:3.12.8-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /bin/uv
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock README.md LICENSE ./
# The adapter asks Triton over HTTP: it needs neither the packaged tritonserver with what that one needs, nor an ONNX
# Runtime, nor what an export needs.
RUN uv sync --frozen --no-install-project --extra otel --no-group runtime-cpu --no-install-package nvidia-pytriton --no-install-package grpcio --no-install-package pyzmq --no-install-package onnx
COPY frontend_api frontend_api
COPY imgr imgr
COPY export export
COPY model_repository/sam_encoder/config.pbtxt model_repository/sam_encoder/
COPY model_repository/sam_decoder/config.pbtxt model_repository/sam_decoder/
RUN uv sync --frozen --no-editable --extra otel --no-group runtime-cpu --no-install-package nvidia-pytriton --no-install-package grpcio --no-install-package pyzmq --no-install-package onnx

FROM python:3.12.8-slim-bookworm
LABEL org.opencontainers.image.title="Imgr" \
      org.opencontainers.image.description="Interactive segmentation as a service: the REST adapter in front of Triton" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 imgr && useradd --uid 10001 --gid imgr --no-create-home imgr && install -d -o imgr -g imgr /data
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 IMGR_LOG_FORMAT=json IMGR_STORE=file:///data/store \
    OTEL_SERVICE_NAME=imgr
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live')"]
CMD ["uvicorn", "frontend_api.main:app", "--http", "frontend_api.main:protocol", "--host", "0.0.0.0", "--port", "8000"]
