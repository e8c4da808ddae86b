#!/bin/sh
set -eu

usage() {
    cat <<'TEXT'
usage: sh tests/setup.sh [--install|--no-install] GROUP...

Makes sure that the Debian packages of the groups are there:
  build   compilers and build tools
  test    what the tests need besides
  bench   what the benchmarks and the peers in them need besides
  tidy    clang-tidy

  --install     install what is missing (the default for root)
  --no-install  never install; say what is missing, and fail (the default for others)
TEXT
}

packages() {
    case $1 in
    build) echo gcc g++ libc6-dev cmake ninja-build pkg-config ;;
    test) echo libcriterion-dev libjemalloc-dev libuv1-dev clang libclang-rt-dev clang-format binutils \
        python3 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user musl-tools \
        gdb valgrind doxygen dpkg-dev file libcurl4-openssl-dev libhiredis-dev redis-server redis-tools \
        libhttp-parser-dev curl wrk netcat-openbsd ;;
    bench) echo libbenchmark-dev libjemalloc-dev libnsync-dev libabsl-dev libglib2.0-dev libtbb-dev \
        libuv1-dev libevent-dev nginx-light redis-server libconcurrentqueue-dev libck-dev libboost-dev \
        libboost-context-dev libboost-fiber-dev gnuplot-nox python3 ;;
    tidy) echo clang-tidy ;;
    *)
        printf 'setup: no group %s\n' "$1" >&2
        exit 2
        ;;
    esac
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install=no
[ "$(id -u)" -ne 0 ] || install=yes
groups=
for argument in "$@"; do
    case $argument in
    --install) install=yes ;;
    --no-install) install=no ;;
    --help | -h)
        usage
        exit 0
        ;;
    -*)
        usage >&2
        exit 2
        ;;
    *) groups="$groups $argument" ;;
    esac
done
if [ -z "$groups" ]; then
    usage >&2
    exit 2
fi

wanted=
for group in $groups; do
    names=$(packages "$group")
    wanted="$wanted $names"
done

if ! command -v dpkg-query >/dev/null; then
    printf 'setup: this is not a Debian system. Going on; if something is missing, look for\n' >&2
    printf 'setup: the like of:%s\n' "$wanted" >&2
    exit 0
fi

missing=
for package in $wanted; do
    case " $missing " in
    *" $package "*) ;;
    *) installed "$package" || missing="$missing $package" ;;
    esac
done
if [ -z "$missing" ]; then
    exit 0
fi

if [ $install = no ]; then
    printf 'setup: missing packages:%s\n' "$missing" >&2
    printf 'setup: install them (as root) with\n' >&2
    printf '    apt-get update && apt-get install --no-install-recommends%s\n' "$missing" >&2
    exit 1
fi

printf 'setup: installing%s\n' "$missing"
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
apt-get -q update
# shellcheck disable=SC2086
apt-get -q -y install --no-install-recommends $missing
