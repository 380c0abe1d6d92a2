FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Its own pip stays out of it, and every file is compiled here: the service cannot write bytecode later.
RUN python -m venv --without-pip /venv
COPY requirements.txt .
RUN pip --python /venv/bin/python install --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY workers workers
COPY clients/python clients/python
RUN pip --python /venv/bin/python install --no-deps .
# Some wheels bring symbols for debuggers, which are most of them.
RUN apt-get update && apt-get install -y --no-install-recommends binutils \
 && find /venv -name '*.so' -exec strip --strip-debug {} +

FROM python:3.13-slim AS system
# Any user of group 0 may write /data: some platforms (OpenShift) give each container a user id of their choice.
# libseccomp2 is what confines the workers; pip has no business where nothing is ever installed.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libseccomp2 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && rm -rf /usr/local/lib/python3.*/ensurepip \
 && groupadd --gid 10001 spillway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin spillway \
 && install -d -o spillway -g 0 -m 770 /data
COPY --from=builder /venv /venv

# One layer, without what the layers above took away again.
FROM scratch
COPY --from=system / /
LABEL org.opencontainers.image.title="Spillway" \
      org.opencontainers.image.description="An image-upload service that stays alive whatever is thrown at it" \
      org.opencontainers.image.licenses="MIT"
# glibc gives back what ten thousand connections took; Python's own allocator would keep most of it.
ENV PATH=/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONMALLOC=malloc \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    SPILLWAY_HOST=0.0.0.0 \
    SPILLWAY_STORE_URL=file:/data
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Bash opens the connection itself: two milliseconds a look, where Python would take a hundred from the photos. It
# asks where SPILLWAY_HOST says, on the loopback if that is every address.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["bash", "-c", "host=${SPILLWAY_HOST:-127.0.0.1}; case $host in 0.0.0.0) host=127.0.0.1;; ::) host=::1;; esac; exec 3<>/dev/tcp/$host/${SPILLWAY_PORT:-8000} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["spillway"]
CMD ["serve"]
