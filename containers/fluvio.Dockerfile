# Fluvio: the CLI `fluvio` and the server `fluvio-run` (SC and SPU), for compose.yaml.
#
#   docker build -f containers/fluvio.Dockerfile -t streampulse-fluvio:0.18.1 containers
#
# Both come the way the Fluvio project gives them today: its install script fetches the version manager fvm
# from the GitHub releases of fluvio-community/fluvio, and fvm fetches the binaries (static, for musl) of one
# release from there. The former installer under infinyon.cloud does not answer any more, and the fvm of
# release 0.18.1 still asks it; that is why fvm itself is taken from the release `dev`.

ARG DEBIAN_IMAGE=debian:bookworm-20260824-slim

FROM ${DEBIAN_IMAGE} AS install
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl unzip \
    && rm -rf /var/lib/apt/lists/*
# The release of Fluvio, x.y.z. Pinned; the build fails if another one arrives.
ARG FLUVIO_VERSION=0.18.1
# A tag of fluvio-community/fluvio whose fvm knows GitHub releases, and the branch, tag or commit of the script.
ARG FVM_VERSION=dev
ARG INSTALLER_REF=master
ARG GITHUB_REPO=fluvio-community/fluvio
# The script reads SHELL at its end and stops where it is not set.
RUN curl -fsSL --retry 3 "https://raw.githubusercontent.com/${GITHUB_REPO}/${INSTALLER_REF}/install.sh" -o /tmp/install.sh \
    && SHELL=/bin/bash bash /tmp/install.sh \
    && install -D -m 0755 -t /out "$HOME/.fluvio/bin/fluvio" "$HOME/.fluvio/bin/fluvio-run" \
    && /out/fluvio version \
    && /out/fluvio-run version \
    && /out/fluvio-run version | grep -Fx "Platform Version: ${FLUVIO_VERSION}"

FROM ${DEBIAN_IMAGE}
COPY --from=install /out/fluvio /out/fluvio-run /usr/local/bin/
# New named volumes take over the owner of the folder that they are mounted on.
RUN groupadd --gid 10001 fluvio \
    && useradd --uid 10001 --gid fluvio --create-home --shell /usr/sbin/nologin fluvio \
    && install -d -o fluvio -g fluvio /var/lib/fluvio
USER 10001:10001
WORKDIR /home/fluvio
ENV RUST_LOG=info
CMD ["fluvio-run", "--help"]
