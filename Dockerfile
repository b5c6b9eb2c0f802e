# tidegate as one static file on an empty image: `docker build -t tidegate .`
#
# config/examples/compose/ shows how to run it. The folder with tidegate.yaml belongs at /etc/tidegate: the folder and not the file, since
# editors and `git pull` replace files, and a mounted file would stay the old one.

ARG RUST=rust:1.95-slim-bookworm
FROM ${RUST} AS build
# The image's own toolchain, and not one that rust-toolchain.toml would have fetched.
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_TERM_COLOR=never
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY benches ./benches
COPY src ./src
# Static with glibc, which brings its own resolver since 2.34; crates that run while others compile stay as they are, for the target is named.
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
    && install -D -m 755 "target/$target/release/tidegate" /out/tidegate \
    && install -d -m 1777 /out/run/tidegate /out/tmp

FROM scratch
COPY --from=build /out /
# Nobody; engines since 20.10 let it listen on ports 80 and 443 all the same.
USER 65534:65534
# So that it need not be written to where the config is mounted: `socket: /run/tidegate/tidegate.sock` in tidegate.yaml.
VOLUME /run/tidegate
EXPOSE 80 443
# tidegate finishes what is on its way; containers of its versions go on running.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/tidegate", "status", "--config", "/etc/tidegate/tidegate.yaml"]
ENTRYPOINT ["/tidegate"]
CMD ["serve", "/etc/tidegate/tidegate.yaml"]
