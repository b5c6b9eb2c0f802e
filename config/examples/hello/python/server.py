"""A server that says hello, on the port that PORT names."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer


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


class Server(ThreadingHTTPServer):
    def server_bind(self):
        # HTTPServer would look up this host's name, and start only when the DNS has answered or given up.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "hello", self.server_address[1]


def main():
    port = int(os.environ.get("PORT", "80"))
    # PID 1 of a container gets no signal that it has not asked for. tidegate sends this one when no request is on its way, so there
    # is nothing to wait for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(("", port), Hello)
    print(f"listening on port {port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
