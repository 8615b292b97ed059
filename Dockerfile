# One file for the images of all programs: docker build --build-arg SERVICE=auth-service .
# The first stage builds every program at once, so the images share its layers and the second stage takes one of them.
FROM rust:1.95-bookworm AS build
WORKDIR /src
# OpenSSL is the one of the base image below, which is Debian 12's like the one here: security updates come with the
# base, and the programs are smaller by it.
ENV OPENSSL_NO_VENDOR=1

# Dependencies, in a layer that lasts until a manifest or the lock file changes: the crates of this workspace are empty
# here, and what was made of them is thrown away.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY auth-service/Cargo.toml auth-service/
COPY bcrypt-lanes/Cargo.toml bcrypt-lanes/
COPY fuzz/Cargo.toml fuzz/
COPY resource-service/Cargo.toml resource-service/
COPY service-kit/Cargo.toml service-kit/
# The programs' build script.
COPY service-kit/link.rs service-kit/
COPY shared-claims/Cargo.toml shared-claims/
COPY signet/Cargo.toml signet/
COPY test-support/Cargo.toml test-support/
COPY user-service/Cargo.toml user-service/
RUN set -e; \
    for manifest in */Cargo.toml; do \
        crate=${manifest%/*}; \
        mkdir "$crate/src" "$crate/benches" "$crate/examples"; \
        touch "$crate/src/lib.rs"; \
        # Benches and examples that the manifest names have to be there; they are not built.
        awk -F'"' '/^\[/ { kind = $0 } \
            /^name/ && kind == "[[bench]]" { print "benches/" $2 ".rs" } \
            /^name/ && kind == "[[example]]" { print "examples/" $2 ".rs" }' "$manifest" \
            | while read -r target; do touch "$crate/$target"; done; \
    done; \
    for program in auth-service resource-service signet user-service; do \
        echo 'fn main() {}' >"$program/src/main.rs"; \
    done; \
    cargo build --release --locked --bins \
        -p auth-service -p resource-service -p signet -p user-service; \
    cargo clean --release --locked $(for manifest in */Cargo.toml; do echo "-p ${manifest%/*}"; done)

COPY . .
# Each program in a directory of its own: without SERVICE there is nothing to copy, and the build fails.
RUN set -e; \
    cargo build --release --locked --bins \
        -p auth-service -p resource-service -p signet -p user-service; \
    for program in auth-service resource-service signet user-service; do \
        install -D --strip "target/release/$program" "/out/$program/service"; \
    done

# glibc, OpenSSL, CA roots and time zones: no shell, no package manager. The user is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="signet/${SERVICE}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build "/out/${SERVICE}/service" /service
USER 65532:65532
ENTRYPOINT ["/service"]
# The service asks itself: there is nothing else in here that could.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["/service", "--health"]
