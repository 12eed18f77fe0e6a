# streampulse: the command `streampulse` with the SmartModules in it, and the connector `mongodb-sink`.
#
#   docker build -f containers/streampulse.Dockerfile -t streampulse:0.1.0 .

ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-20260824-slim

FROM ${RUST_IMAGE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential pkg-config \
    && rm -rf /var/lib/apt/lists/*
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
# One command and one layer, so that compiled dependencies can stay in the cache mount between builds.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    --mount=type=cache,target=/src/smartmodules/target \
    STREAMPULSE_WASM_ROUTE=rustup cargo xtask build \
    && cargo build --release --locked --package mongodb-sink \
    && install -D -m 0755 -t /out target/release/streampulse target/release/mongodb-sink

FROM ${DEBIAN_IMAGE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/streampulse /out/mongodb-sink /usr/local/bin/
RUN groupadd --gid 10001 streampulse \
    && useradd --uid 10001 --gid streampulse --create-home --shell /usr/sbin/nologin streampulse \
    && install -d /etc/streampulse
USER 10001:10001
# streampulse reads fluvio.toml in the current folder when no other is named.
WORKDIR /etc/streampulse
ENV RUST_LOG=info
CMD ["streampulse", "--help"]
