#!/bin/sh
# usage: clients.sh NAME PROGRAM - starts an example that serves, on a free port of the loopback interface, and has
# programs that are installed talk to it.
set -eu

name=$1
program=$2
folder=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 1' INT TERM

# Of nc there are several; ours is OpenBSD's.
has() {
    if ! command -v "$1" >/dev/null || { [ "$1" = nc ] && ! nc -h 2>&1 | grep -q recvlimit; }; then
        printf 'not asked: no %s\n' "$1"
        return 1
    fi
}

need() {
    has "$1" || exit 77
}

# Sets `port` when it listens.
start() {
    "$program" "$@" >"$folder/says" 2>&1 &
    server=$!
    until grep -q 'listening on .*:[0-9]' "$folder/says"; do
        kill -0 "$server" || {
            cat "$folder/says"
            exit 1
        }
        sleep 0.02
    done
    port=$(sed -n 's/^listening on .*://p' "$folder/says")
}

# Asked to, it ends, and says that all is well.
stop() {
    kill -TERM "$server"
    status=0
    wait "$server" || status=$?
    server=
    same 0 "$status"
}

same() { # expected, got
    [ "$1" = "$2" ] || {
        printf 'expected "%s", but it is "%s"\n' "$1" "$2"
        exit 1
    }
}

http_server() {
    need curl
    mkdir "$folder/www" "$folder/www/sub"
    echo hello >"$folder/www/index.html"
    echo below >"$folder/www/sub/a b.txt"
    echo secret >"$folder/secret"
    head -c 3000000 /dev/urandom >"$folder/www/big.bin"
    start 0 "$folder/www"
    url=http://127.0.0.1:$port
    get="curl -s --noproxy * --max-time 30"
    set -f
    same hello "$($get "$url/")"
    same below "$($get "$url/sub/a%20b.txt?x=y")"
    $get -I "$url/" | tr -d '\r' >"$folder/head"
    grep -q '^HTTP/1.1 200 ' "$folder/head"
    grep -qx 'Content-Length: 6' "$folder/head"
    grep -qx 'Content-Type: text/html; charset=utf-8' "$folder/head"
    same 404 "$($get -o /dev/null -w '%{http_code}' "$url/none")"
    same 405 "$($get -o /dev/null -w '%{http_code}' -d a=b "$url/")"
    for path in /../secret /%2e%2e/secret /sub/../../secret /..%2fsecret //etc/passwd /sub/%00; do
        same 404 "$($get -o /dev/null -w '%{http_code}' --path-as-is "$url$path")"
    done
    $get -o "$folder/big" "$url/big.bin"
    cmp "$folder/big" "$folder/www/big.bin"
    # Three by one connection.
    same '1 0 0 ' "$($get -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects} ' "$url/" "$url/none" "$url/")"
    if has nc; then
        same 3 "$(printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n' |
            nc -N -w 30 127.0.0.1 "$port" | grep -c '^HTTP/1.1 200')"
    fi
    if has wrk; then
        wrk -t1 -c20 -d1 --timeout 30 "$url/" >"$folder/wrk"
        cat "$folder/wrk"
        grep -q 'requests in' "$folder/wrk"
        if grep -q 'Non-2xx\|Socket errors' "$folder/wrk"; then
            exit 1
        fi
    fi
    stop
}

resp_server() {
    need redis-cli
    start 0
    ask="redis-cli -p $port"
    same PONG "$($ask ping)"
    same OK "$($ask set key 'some value')"
    same 'some value' "$($ask get key)"
    same 1 "$($ask incr count)"
    same 2 "$($ask del key count)"
    same '' "$($ask get key)"
    head -c 400000 /dev/zero | tr '\0' v >"$folder/value"
    same OK "$($ask -x set large <"$folder/value")"
    same 400000 "$($ask get large | tr -d '\n' | wc -c)"
    same 1000 "$(seq -f 'SET k%g v' 1000 | $ask | grep -c OK)"
    if has redis-benchmark; then
        redis-benchmark -p "$port" -n 2000 -c 20 -q -t ping,set,get,incr,mset >"$folder/bench"
        redis-benchmark -p "$port" -n 5000 -c 20 -P 16 -q -t set,get >>"$folder/bench"
        same 8 "$(tr '\r' '\n' <"$folder/bench" | grep -c 'requests per second')"
        same 2000 "$($ask get counter:__rand_int__)"
    fi
    if has nc; then
        same '+PONG +OK' "$(printf 'PING\r\nQUIT\r\n' | nc -w 30 127.0.0.1 "$port" | tr -d '\r' | xargs)"
    fi
    stop
}

udp_echo() {
    need nc
    start 0
    said=
    for _ in 1 2 3 4 5 6 7 8 9 10; do # a datagram may get lost
        said=$(echo hello | nc -u -W 1 -w 2 127.0.0.1 "$port") || true
        [ -z "$said" ] || break
    done
    same HELLO "$said"
    stop
}

chat() {
    need nc
    mkfifo "$folder/typed"
    "$program" listen 0 <"$folder/typed" >"$folder/shown" 2>"$folder/says" &
    server=$!
    exec 3>"$folder/typed"
    until grep -q listening "$folder/says"; do
        kill -0 "$server"
        sleep 0.02
    done
    port=$(sed -n 's/^listening on .*://p' "$folder/says")
    echo 'hello there' >&3
    exec 3>&-
    same 'hello there' "$(echo 'who is it?' | nc -N -w 30 127.0.0.1 "$port")"
    wait "$server"
    server=
    same '> who is it?' "$(cat "$folder/shown")"
}

command_server() {
    start 0
    same 'hello, world' "$("$program" "$port" hello)"
    same 20000000 "$("$program" "$port" much | wc -c)"
    same '' "$("$program" "$port" 'hello; id')"
    if has nc; then # no frame: it hangs up
        same '' "$(printf '\377\377\377\377\377\377\377\377nonsense' | nc -N -w 30 127.0.0.1 "$port")"
    fi
    stop
}

file_server() {
    mkdir "$folder/served" "$folder/got"
    head -c 20000000 /dev/urandom >"$folder/one"
    start 0 "$folder/served"
    "$program" "$port" put "$folder/one"
    cmp "$folder/one" "$folder/served/one"
    (cd "$folder/got" && "$program" "$port" get one)
    cmp "$folder/one" "$folder/got/one"
    # From the middle.
    head -c 10000000 "$folder/one" >"$folder/served/two.part"
    cp "$folder/one" "$folder/two"
    "$program" "$port" put "$folder/two" >"$folder/put"
    cat "$folder/put"
    grep -q 'of which 10000000 were there' "$folder/put"
    cmp "$folder/one" "$folder/served/two"
    if (cd "$folder/got" && "$program" "$port" get ../one); then
        exit 1
    fi
    stop
}

"$name"
