# The image holds one static binary and its configuration files: no shell, no libraries, no user
# database. Build it for the machine's platform, or for others through emulation:
#
#   docker build -t log-ambassador .
#   docker buildx build --platform linux/amd64,linux/arm64 -t log-ambassador .

FROM rust:1-bookworm AS build

# The target triple; empty is that of the platform that builds.
ARG TARGET=

WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    TARGET="$TARGET" scripts/build-static /image

FROM scratch

LABEL org.opencontainers.image.title="log-ambassador" \
      org.opencontainers.image.description="Follows the log files of a Pod and delivers every line to Fluentd; reads Fluent Bit's configuration" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

# The binary, and the path under which Pods written for Fluent Bit's image start it: a link.
COPY --from=build /image/ /
COPY parsers/ /etc/log-ambassador/parsers/
COPY config/ /etc/log-ambassador/config/

# What such Pods expect to find, or mount their ConfigMap over.
COPY config/image.conf /fluent-bit/etc/fluent-bit.conf
COPY parsers/parsers.conf /fluent-bit/etc/parsers.conf

# The HTTP server's port, where it is switched on.
EXPOSE 2020

# The C library would keep large buffers that were freed for the next ones, as much again as
# `Mem_Buf_Limit` in the worst case. With this they go back to the system.
ENV MALLOC_MMAP_THRESHOLD_=131072

# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532

# As in Fluent Bit's image: with no arguments given the two are joined, so the program is started
# with its own path as first argument, and ignores it.
ENTRYPOINT ["/fluent-bit/bin/fluent-bit"]
CMD ["/fluent-bit/bin/fluent-bit", "-c", "/fluent-bit/etc/fluent-bit.conf"]
