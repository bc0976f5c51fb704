FROM rust:1.95.0-slim-bookworm AS build
# rust-toolchain.toml asks for lint tools as well; the image's own toolchain is all that a build needs.
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_TERM_COLOR=never
WORKDIR /build

# Dependencies change less often than the code: built with an empty program, they stay a layer of their own.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && cargo build --release --locked --bin hookbro \
    && rm -rf src

COPY . .
# cargo compares times, and the copied files may be older than the empty ones were.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin hookbro

FROM debian:12.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin hookbro \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/hookbro
COPY --from=build /build/target/release/hookbro /usr/local/bin/hookbro

# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
# Inside a container loopback is reachable by nobody else, Prometheus included.
ENV HOOKBRO__ADMIN__LISTEN=0.0.0.0:9464
# The journal's file; mount a volume here to keep it.
ENV STATE_DIRECTORY=/var/lib/hookbro
EXPOSE 9464
STOPSIGNAL SIGTERM
# Liveness: the image has no curl, and bash speaks TCP.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && read -r -t 3 line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["hookbro"]
CMD ["run"]
