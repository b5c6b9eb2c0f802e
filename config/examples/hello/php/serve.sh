#!/bin/sh
# PHP's own server does not ask for SIGTERM, and PID 1 of a container gets no signal that it has not asked for. So the shell is PID 1,
# and hands on what it gets. tidegate sends the signal when no request is on its way, so there is nothing to wait for.
php -S "0.0.0.0:${PORT:-80}" index.php &
server=$!
trap 'kill -TERM "$server"; exit 0' TERM INT
wait "$server"
