# One image for every process: `docker compose up` runs the four together under supervisord, the profiles `split` and `scale` one each.
#
# llama.cpp is compiled for any x86-64 processor with AVX2 (2013 and later), since nobody knows where an image will run. For the
# processor that builds it, and none older: --build-arg CMAKE_ARGS=-DLLAVA_BUILD=OFF
FROM docker.io/library/python:3.11-slim-bookworm AS build

ARG CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
ENV CMAKE_ARGS=${CMAKE_ARGS}

RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
# The compile takes minutes and depends on these files only: a change of our own code does not repeat it.
COPY tools/ tools/
COPY requirements/ requirements/
RUN python -m tools.llama_wheel requirements/native.txt

COPY pyproject.toml constraints.txt LICENSE README.md ./
COPY limbic/ limbic/
COPY services/ services/
COPY gateway/ gateway/
COPY training/ training/
RUN python -m tools.environment runtime .venv && .venv/bin/python -m training build-head


FROM docker.io/library/python:3.11-slim-bookworm

# libgomp: llama.cpp's threads. tini: supervisord is no process 1, which has to reap what others leave behind.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin limbic \
    && install -d -o limbic -g limbic -m 0700 /data /data/models

WORKDIR /app
COPY --from=build /app /app
COPY supervisord.conf ./

ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    LIMBIC_RUNTIME__DATA_DIR=/data \
    LIMBIC_RUNTIME__LOGS_DIR=/data/logs \
    LIMBIC_RUNTIME__MODELS_DIR=/data/models \
    LIMBIC_STATE__JOURNAL_URL=sqlite:////data/journal.sqlite3

USER 10001:10001
VOLUME /data
EXPOSE 8080 50051

HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["python", "-m", "limbic.supervision", "healthy"]
ENTRYPOINT ["tini", "-g", "--"]
CMD ["python", "-m", "limbic.supervision", "run"]
