#!/usr/bin/env bash
# Makes the images that `make deploy-test` runs: those of docker-compose.yml, pulled where their registries can be
# reached. For one that can't be had it builds a stand-in of Debian's and PyPI's packages, under the same name:
#
#   python, uv     debootstrap (as root) and uv's wheel
#   Triton         the base image and nvidia-pytriton's tritonserver, with the backend of `imgr serve`
#   Prometheus     Debian's package
#   nginx          Debian's package
#
# Grafana has no stand-in. The adapter's image is built from the Dockerfile as it is, named imgr-api.
#
#   ENGINE=docker|podman   the engine; Podman unless only Docker is there
#   STAND_INS=1            pull nothing
set -euo pipefail
cd "$(dirname "$0")/.."

ENGINE=${ENGINE:-$(command -v podman >/dev/null && echo podman || echo docker)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

image_of() { # service: its image in the compose file
  sed -n "/image: .*$1/{s/.*image: //p;q}" docker-compose.yml
}
base=$(sed -n 's/^FROM \(\S*\)$/\1/p' Dockerfile)
uv=$(sed -n 's/^COPY --from=\(\S*\/uv:\S*\) .*/\1/p' Dockerfile)
triton=$(image_of tritonserver)
prometheus=$(image_of prometheus)
grafana=$(image_of grafana)
nginx=$(sed -n 's/^ *image: //p' deploy/nginx/compose.tls.yml)

full_name() { # as registries are named in full, which Podman asks for
  case $1 in
    *.*/*) echo "$1" ;;
    */*) echo "docker.io/$1" ;;
    *) echo "docker.io/library/$1" ;;
  esac
}
build() { # name, options and folder
  local name=$1
  shift
  if [ "$ENGINE" = podman ]; then set -- --format docker --pull-never "$@"; fi
  "$ENGINE" build --network host --tag "$name" "$@"
}
have() {
  "$ENGINE" image inspect "$(full_name "$1")" >/dev/null 2>&1 && { echo "have      $1"; return; }
  [ "${STAND_INS:-}" != 1 ] && timeout 1800 "$ENGINE" pull -q "$(full_name "$1")" >/dev/null 2>&1 && echo "pulled    $1"
}

have "$base" || {
  root=$work/root
  debootstrap --variant=minbase --include=python3,python3-venv,libpython3.11,ca-certificates,curl,wget \
    bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >/dev/null
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" # those of a proxy on the way included
  ln -s python3 "$root/usr/bin/python"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -cf - . | "$ENGINE" import - "$(full_name "$base")" >/dev/null
  rm -rf "$root"
  echo "stand-in  $base"
}
have "$uv" || {
  mkdir "$work/uv"
  python3 -m pip install -q --no-deps --target "$work/wheel" "uv==${uv#*:}"
  cp "$work"/wheel/bin/uv "$work/uv/uv"
  tar -C "$work/uv" -cf - uv | "$ENGINE" import - "$(full_name "$uv")" >/dev/null
  echo "stand-in  $uv"
}
have "$triton" || {
  cat >"$work/triton.Dockerfile" <<EOF
FROM $(full_name "$base")
COPY --from=$(full_name "$uv") /uv /bin/uv
WORKDIR /opt/imgr
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY frontend_api frontend_api
COPY imgr imgr
COPY export export
COPY model_repository/sam_encoder/config.pbtxt model_repository/sam_encoder/
COPY model_repository/sam_decoder/config.pbtxt model_repository/sam_decoder/
# A command tritonserver as in NVIDIA's image: any flags, and its backends are its own affair.
RUN (command -v curl >/dev/null || (apt-get update && apt-get install -y --no-install-recommends curl)) \
 && groupadd --gid 1000 triton-server && useradd --uid 1000 --gid 1000 --no-create-home triton-server \
 && UV_LINK_MODE=copy UV_NO_CACHE=1 uv sync -q --frozen --no-editable --no-dev --group runtime-cpu \
 && .venv/bin/python -c 'import shlex; from pathlib import Path; from imgr.triton.installation import install; \
found = install(Path("/opt/triton")); script = Path("/usr/local/bin/tritonserver"); \
lines = [f"export {name}={shlex.quote(value)}" for name, value in found.environment.items()]; \
script.write_text("\n".join(["#!/bin/sh", *lines, f"exec {found.executable} \"\$@\" --backend-directory={found.backends}", ""])); \
script.chmod(0o755)' && rm -rf /var/lib/apt/lists/*
EOF
  build "$(full_name "$triton")" --file "$work/triton.Dockerfile" . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  echo "stand-in  $triton"
}
debian() { # name, packages; more lines of its Dockerfile come in, and find the files of $work/context
  mkdir -p "$work/context"
  {
    echo "FROM $(full_name "$base")"
    echo "RUN apt-get update && apt-get install -y --no-install-recommends wget $2 && rm -rf /var/lib/apt/lists/*"
    cat
  } >"$work/Dockerfile"
  build "$(full_name "$1")" --file "$work/Dockerfile" "$work/context" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  echo "stand-in  $1"
}
have "$prometheus" || debian "$prometheus" prometheus <<'EOF'
RUN install -d -o 65534 -g 65534 /prometheus
USER 65534
WORKDIR /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
EOF
have "$nginx" || {
  mkdir -p "$work/context"
  cat >"$work/context/entrypoint" <<'EOF'
#!/bin/sh
# As the image does: variables that are set are put into the templates.
names=$(env | sed -n 's/^\([A-Z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
for each in /etc/nginx/templates/*.template; do
  envsubst "$names" <"$each" >"${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}/$(basename "$each" .template)"
done
exec nginx -g 'daemon off;'
EOF
  cat >"$work/context/nginx.conf" <<'EOF'
pid /tmp/nginx.pid;
error_log /dev/stderr;
events {}
http {
    client_body_temp_path /tmp/client;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    access_log /dev/stdout;
    include /etc/nginx/conf.d/*.conf;
}
EOF
  debian "$nginx" 'nginx-light gettext-base' <<'EOF'
COPY --chmod=755 entrypoint /docker-entrypoint.sh
COPY nginx.conf /etc/nginx/nginx.conf
RUN rm -rf /var/log/nginx/* && chown 101:101 /var/log/nginx /var/lib/nginx /etc/nginx/conf.d
USER 101
ENTRYPOINT ["/docker-entrypoint.sh"]
EOF
}
have "$grafana" || echo "none      $grafana"

build docker.io/library/imgr-api . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
[ "$ENGINE" = docker ] || "$ENGINE" tag docker.io/library/imgr-api localhost/imgr-api
echo "built     imgr-api, $("$ENGINE" image inspect --format '{{.Size}}' docker.io/library/imgr-api) bytes"
