#!/usr/bin/env python3
"""The systems behind the connectors: documents, a sink for pushes, and a provisioner that answers later.

backend.py PORT [DOCUMENTS_FILE]   serves on 127.0.0.1. DOCUMENTS_FILE is JSON {name: document}, read at each request.

GET  /doc/NAME           the document; 404 if unknown. Counted.
GET  /slow/NAME          the same, after SLOW seconds.
GET  /broken             500. Counted.
POST /sink/NAME          stores the body (at most 1 MB is kept); GET returns the last one.
POST /provision?for=NAME&delay=SECONDS
                         EDC's HTTP provisioner: 202, then the callback with the address of NAME. With delay=never it
                         waits for POST /release.
POST /release            sends the callbacks that wait. POST /reset forgets all counts.
GET  /counts             {"documents":{NAME:GETs},"sink":{NAME:POSTs},"provision":n,"deprovision":n,"waiting":n}
"""
import json
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port = int(sys.argv[1])
documents_file = sys.argv[2] if len(sys.argv) > 2 else None
SLOW = 3
lock = threading.Lock()
documents, sinks, provisions = Counter(), Counter(), Counter()
bodies, waiting = {}, []


def document(name):
    if name.startswith("generated-"):
        return {"value": name}
    with open(documents_file) as f:
        return json.load(f).get(name)


def call_back(ask, name):
    url = "{callbackAddress}/{flowId}/{provisionResourceId}/{type}".format(**ask)
    body = {}
    if ask["type"] == "provision":
        ns = "https://w3id.org/edc/v0.0.1/ns/"
        body = {"dataAddress": {"properties": {ns + "type": "HttpData", ns + "baseUrl": f"http://localhost:{port}/doc/{name}"}}}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as e:
        print("callback", url, e, file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, value=None, raw=None):
        data = raw if raw is not None else b"" if value is None else json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path = urllib.parse.urlparse(self.path).path
        name = path.rsplit("/", 1)[-1]
        if path == "/counts":
            with lock:
                return self.answer(200, {"documents": dict(documents), "sink": dict(sinks), "waiting": len(waiting),
                                         "provision": provisions["provision"], "deprovision": provisions["deprovision"]})
        if path.startswith("/sink/"):
            return self.answer(200, raw=bodies[name]) if name in bodies else self.answer(404)
        with lock:
            documents[name] += 1
        if path.startswith("/slow/"):
            time.sleep(SLOW)
        if path == "/broken":
            return self.answer(500, {"error": "this backend always fails"})
        found = document(name) if path.startswith(("/doc/", "/slow/")) else None
        self.answer(200, found) if found is not None else self.answer(404, {"error": "no such document"})

    def do_POST(self):
        url = urllib.parse.urlparse(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if self.headers.get("Content-Length") else self.chunks()
        if url.path.startswith("/sink/"):
            name = url.path.rsplit("/", 1)[-1]
            with lock:
                sinks[name] += 1
                bodies[name] = body[:1 << 20]
            return self.answer(200)
        if url.path == "/provision":
            query, ask = dict(urllib.parse.parse_qsl(url.query)), json.loads(body)
            with lock:
                provisions[ask["type"]] += 1
            self.answer(202)
            if ask["type"] == "provision" and query.get("delay") == "never":
                with lock:
                    waiting.append((ask, query["for"]))
            else:
                delay = float(query.get("delay", 0)) if ask["type"] == "provision" else 0
                threading.Timer(delay, call_back, (ask, query["for"])).start()
            return
        if url.path == "/release":
            with lock:
                todo, waiting[:] = list(waiting), []
            for ask in todo:
                call_back(*ask)
            return self.answer(200, {"released": len(todo)})
        if url.path == "/reset":
            with lock:
                documents.clear(), sinks.clear(), provisions.clear()
            return self.answer(200)
        self.answer(404)

    do_PUT = do_POST

    def chunks(self):
        data = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return data

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


Server(("127.0.0.1", port), Handler).serve_forever()
