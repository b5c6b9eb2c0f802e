"""A server that says hello, on the port that PORT names."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    # Connections stay open between requests.
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"Hello from Python\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port = int(os.environ.get("PORT", "80"))
    # PID 1 of a container gets no signal that it has not asked for. tidegate sends this one when no request is on its way, so there
    # is nothing to wait for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("", port), Hello)
    print(f"listening on port {port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
