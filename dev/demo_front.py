"""One port for Odoo's two, as a reverse proxy in front of a deployment has it.

With workers Odoo serves web sockets on a port of their own; the web client only knows the other one.
"""

import contextlib
import socket
import socketserver
import threading

LOOPBACK = "127.0.0.1"
# A web socket's connection begins so; a browser opens a new one for it.
SOCKET_LINE = b"GET /websocket"
CHUNK = 65536


class Front(socketserver.ThreadingTCPServer):
    """Hands on what comes to ``port`` of 127.0.0.1.

    :param int port: where to listen; 0 for any free one.
    :param int http_port: where everything goes but web sockets.
    :param int socket_port: where those go.
    :raise OSError: the port is taken.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port, http_port, socket_port):
        self.http_port, self.socket_port = http_port, socket_port
        super().__init__((LOOPBACK, port), _Connection)

    @property
    def port(self):
        """Where it listens."""
        return self.server_address[1]

    def start(self):
        """Serve from now on, in a thread."""
        threading.Thread(target=self.serve_forever, args=[0.2], daemon=True).start()

    def stop(self):
        """Take no more connections."""
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            start = self.request.recv(len(SOCKET_LINE), socket.MSG_PEEK | socket.MSG_WAITALL)
            port = self.server.socket_port if start == SOCKET_LINE else self.server.http_port
            with socket.create_connection((LOOPBACK, port)) as behind:
                back = threading.Thread(target=_pump, args=[behind, self.request], daemon=True)
                back.start()
                _pump(self.request, behind)
                back.join()


def _pump(source, sink):
    """Hand on until the source has ended, and end the sink."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
