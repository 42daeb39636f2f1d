# The binary holds the templates, plans and platform files that ship, so the last stage needs nothing of the sources.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential pkg-config libssl-dev ca-certificates
WORKDIR /source
COPY . .
RUN cargo build --locked --profile dist --bin loudhailer

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libssl3 ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home loudhailer \
    && install -d -o loudhailer -g loudhailer /data
COPY --from=build /source/target/dist/loudhailer /usr/local/bin/loudhailer
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["loudhailer"]
CMD ["serve"]
