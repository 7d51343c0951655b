# fobench for CI: measures a live server, without torch (the extra `realtime`).
#
#   docker build -t fobench .
#   mkdir -p runs
#   docker run --rm --network host --user "$(id -u)" -v "$PWD/runs:/runs" fobench run --system realtime:ws://127.0.0.1:8765 --limit 24
#
# The model of the reference ASR (78 MB, pinned by its hash) is fetched while the image is built, by default; MODELS="" leaves it to
# the first run, MODELS="NAME ..." takes others (fobench assets ls). A server's key comes in with -e NAME and api_key_env=NAME.
FROM python:3.12-slim

ARG MODELS="whisper-tiny.en-ct2"
ENV FOBENCH_HOME=/models PYTHONDONTWRITEBYTECODE=1

COPY . /source
RUN python -m pip install --no-cache-dir "/source[realtime]" && rm -rf /source

# Reports go to /runs. Any user may write there and to the model files, so that --user can be the owner of a mounted folder.
RUN useradd --create-home fobench && mkdir /models /runs && chown fobench: /models && chmod a+rwx /models /runs
USER fobench
RUN if [ -n "$MODELS" ]; then fobench assets pull $MODELS; fi && chmod -R a+rwX /models

WORKDIR /
ENTRYPOINT ["fobench"]
CMD ["--help"]
