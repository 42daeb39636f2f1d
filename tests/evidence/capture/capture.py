"""Records on 127.0.0.1 what an SDK sends, and writes it down as evidence. Nothing leaves the machine."""
import importlib, importlib.metadata, json, os, pathlib, socket, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

OUT = pathlib.Path(os.environ.get("EVIDENCE_OUT", pathlib.Path(__file__).parent.parent))
ID = "dlv_1_2_3_example000"
MEANING = {"authorization", "content-type", "idempotency-key"}

sys.path.append(sys.path.pop(0))  # plivo.py here must not hide the package plivo


def callback(platform):
    return f"https://status.example/v1/receipts/{platform}?delivery={ID}"


class Recorder:
    """A server that answers every request alike. `requests` has what came; `origin` is where it would have gone."""

    def __init__(self, status=200, answer=None, headers=None):
        self.requests, self.origin = [], None
        text = answer if isinstance(answer, str) else json.dumps({} if answer is None else answer)
        kind = "text/plain" if isinstance(answer, str) else "application/json"

        class Handler(BaseHTTPRequestHandler):
            def take(handler):
                body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
                if handler.headers.get("transfer-encoding") == "chunked":
                    while size := int(handler.rfile.readline().split(b";")[0], 16):
                        body += handler.rfile.read(size)
                        handler.rfile.readline()
                    handler.rfile.readline()
                head = {name.lower(): value for name, value in handler.headers.items()}
                self.requests.append((handler.command, handler.path, head, body))
                handler.send_response(status)
                for name, value in {"content-type": kind, "content-length": str(len(text.encode())), **(headers or {})}.items():
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_PATCH = take

            def log_message(handler, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def redirect(self):
        """Sends here what requests and httpx would send elsewhere; their requests are otherwise as the SDK made them."""
        import requests
        send = requests.adapters.HTTPAdapter.send

        def to_here(adapter, request, **options):
            at = urlsplit(request.url)
            if at.hostname != "127.0.0.1":
                self.origin = f"{at.scheme}://{at.netloc}"
                request.url = self.url + request.url[len(self.origin):]
            return send(adapter, request, **options)

        requests.adapters.HTTPAdapter.send = to_here
        for name in ("httpx", "httpx2"):
            try:
                self._redirect(importlib.import_module(name))
            except ImportError:
                pass
        return self

    def _redirect(self, httpx):
        handle = httpx.HTTPTransport.handle_request

        def to_here(transport, request):
            if request.url.host != "127.0.0.1":
                self.origin = f"{request.url.scheme}://{request.url.host}"
                request.url = httpx.URL(self.url + request.url.raw_path.decode())
            return handle(transport, request)

        httpx.HTTPTransport.handle_request = to_here

    def request(self, keep=(), drop=()):
        """The last request, in the shape of the evidence."""
        method, path, head, body = self.requests[-1]
        at = urlsplit(path)
        kept = (MEANING | {name.lower() for name in keep}) - set(drop)
        headers = {name: value for name, value in head.items() if name in kept and value != "*/*"}
        kind = head.get("content-type", "").split(";")[0]
        request = {"method": method}
        if self.origin:
            request["origin"] = self.origin
        request |= {"path": at.path, "query": dict(parse_qsl(at.query, keep_blank_values=True)), "headers": headers}
        if kind == "application/x-www-form-urlencoded":
            return request | {"body": dict(parse_qsl(body.decode(), keep_blank_values=True)), "form": True}
        if kind == "multipart/form-data":
            headers["content-type"] = kind  # its boundary is another each time
            return request | {"body": multipart(head["content-type"], body), "form": True}
        try:
            return request | {"body": json.loads(body)}
        except ValueError:
            return request | {"body": body.decode()}


def multipart(kind, body):
    import email
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    return {part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode() for part in message.get_payload()}


def follows(parcel, request):
    """For `write`'s `following`: the request of a parcel that follows an earlier message, by `reply` or `edit`."""
    return {"parcel": {"id": ID, "urgent": False} | parcel, "request": request, "ours_differs": []}


def write(platform, package, parcel, settings, request, differs=(), level="B", source=None, **more):
    """`differs`: pairs of a place in the request and why ours is another there."""
    if source is None:
        source = f"PyPI {package} {importlib.metadata.version(package)}"
    evidence = {
        "platform": platform, "level": level, "source": source, "parcel": {"id": ID, "urgent": False} | parcel,
        "settings": settings, "request": request, "ours_differs": [{"at": at, "why": why} for at, why in differs],
    } | more
    OUT.mkdir(exist_ok=True)
    (OUT / f"{platform}.json").write_text(json.dumps(evidence, indent=1, ensure_ascii=False) + "\n")
    print(platform, request["method"], request.get("origin", ""), request["path"], json.dumps(request["headers"]), json.dumps(request["body"], ensure_ascii=False))


def only_loopback():
    """No connection to anywhere else, so that nothing can be sent by mistake."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            raise OSError(f"not to {address}: loopback only")
        return connect(self, address)

    def no_names(name, *rest, **options):
        if name not in ("127.0.0.1", "localhost", None):
            raise OSError(f"not to {name}: loopback only")
        return resolve(name, *rest, **options)

    resolve, socket.getaddrinfo = socket.getaddrinfo, no_names
    socket.socket.connect = guarded


only_loopback()
