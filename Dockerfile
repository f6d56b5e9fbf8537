# The three services from one file:
#   docker build --target engine -t perl-rl:cpu .                          # rollout, trainer and every command
#   docker build --target engine -t perl-rl:gpu --build-arg PROFILE=gpu .
#   docker build --target reward -t perl-rl-reward:cpu .                   # no torch, a tenth of the size
# The targets rollout and trainer are the engine image with that service's health check.
#
# Everything is in /app, laid out as in a checkout, so that paths in configs/ mean the same. The services write
# only to /app/runs and to /tmp (HOME and all caches): mount these two, and the rest may be read-only.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/app/.venv/bin:$PATH
WORKDIR /app
# A numeric user, so that Kubernetes can see that it is not root.
RUN groupadd --gid 10001 perl \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp/home perl \
    && mkdir -p runs models data \
    && chown 10001:10001 runs


# The libraries come first: installing them takes minutes, and they are rebuilt only when a pin changes.
FROM base AS engine-libraries
# The compiler stays: torch compiles kernels when a model first runs on a CPU.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/ requirements/
COPY pyproject.toml LICENSE ./
COPY scripts/setup_env.py scripts/torchvision_shim.py scripts/
COPY scripts/set_up/ scripts/set_up/
# cpu or gpu: the same packages, pins and lock as `make setup`.
ARG PROFILE=cpu
RUN python scripts/setup_env.py --profile "${PROFILE}" \
    # Nothing can be written at run time, so compile what is imported here. A few files of other
    # projects are not valid in this version of Python.
    && (python -m compileall -q .venv/lib || true)


FROM base AS reward-libraries
COPY requirements/cpu.lock requirements/tracing.txt requirements/
# Only what the reward service imports; all of requirements/common.txt would pull in torch.
RUN python -m venv .venv && .venv/bin/pip install -c requirements/cpu.lock -r requirements/tracing.txt \
    anyio fastapi httpx 'math-verify[antlr4-13-2]' msgpack numpy openai pillow prometheus_client psutil \
    pydantic PyYAML redis rich uvicorn


FROM base AS reward
COPY --from=reward-libraries /app/.venv .venv
COPY LICENSE ./
COPY configs/ configs/
COPY shared/ shared/
COPY services/ services/
COPY perl_rl/ perl_rl/
ENV HOME=/tmp/home PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8200
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8200/healthz', timeout=4)"]
# SIGTERM goes to the service itself, which drains.
ENTRYPOINT ["python", "-m", "perl_rl"]


FROM engine-libraries AS engine
COPY configs/ configs/
COPY shared/ shared/
COPY services/ services/
COPY perl_rl/ perl_rl/
ENV HOME=/tmp/home PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["python", "-m", "perl_rl"]


FROM engine AS rollout
EXPOSE 8100
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8100/healthz', timeout=4)"]


FROM engine AS trainer
EXPOSE 8000
EXPOSE 8010
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
