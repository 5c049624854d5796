"""A server on this machine that speaks as much of the Hub's protocol as its client needs for agents."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LFS = 1000  # bytes above which a file goes to the large file storage


class Hub:
    """Repositories: id -> branch -> commits, each a mapping of names to contents."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = ""

    def commit(self, repo_id: str, branch: str, files: dict[str, bytes]) -> str:
        """Add files to a branch; the new commit."""
        branches = self.branches.setdefault(repo_id, {})
        whole = {**self.commits.get(branches.get(branch, ""), {}), **files}
        names = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in sorted(whole.items())]
        oid = hashlib.sha1("\n".join([repo_id, str(len(self.commits)), *names]).encode()).hexdigest()
        self.commits[oid], branches[branch] = whole, oid
        return oid

    def resolve(self, repo_id: str, revision: str) -> str | None:
        oid = self.branches.get(repo_id, {}).get(revision, revision)
        return oid if repo_id in self.branches and oid in self.commits else None


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_POST = do_PUT = do_GET

    def _route(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for pattern, answer in ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, body, *found.groups())
        return self.say({"error": f"no such page {path}"}, 404)

    def say(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self, kind: str) -> None:
        self.say({"error": f"{kind} not found"}, 404, {"X-Error-Code": f"{kind}NotFound"})

    # ---- what the client asks ---------------------------------------------------------------------------------------

    def info(self, body: bytes, repo_id: str, revision: str | None = None) -> None:
        if repo_id not in self.hub.branches:
            return self.missing("Repo")
        oid = self.hub.resolve(repo_id, revision or "main")
        if oid is None:
            return self.missing("Revision")
        siblings = []
        for name, content in self.hub.commits[oid].items():
            told = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            if len(content) > LFS:
                told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            siblings.append(told)
        return self.say({"id": repo_id, "modelId": repo_id, "sha": oid, "siblings": siblings, "tags": []})

    def tree(self, body: bytes, repo_id: str, revision: str) -> None:
        oid = self.hub.resolve(repo_id, revision)
        files = self.hub.commits.get(oid or "", {})
        listed = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in files.items()
        ]
        self.say(listed)

    def file(self, body: bytes, repo_id: str, revision: str, name: str) -> None:
        oid = self.hub.resolve(repo_id, revision)
        if oid is None or name not in self.hub.commits[oid]:
            return self.missing("Entry")
        content = self.hub.commits[oid][name]
        etag = hashlib.sha256(content).hexdigest()
        return self.say(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": oid})

    def create(self, body: bytes) -> None:
        told = json.loads(body)
        repo_id = f"{told.get('organization') or 'somebody'}/{told['name']}"
        if repo_id in self.hub.branches:
            return self.say({"error": "You already created this repo", "url": f"{self.hub.url}/{repo_id}"}, 409)
        self.hub.commit(repo_id, "main", {".gitattributes": b""})
        return self.say({"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": repo_id})

    def branch(self, body: bytes, repo_id: str, name: str) -> None:
        self.hub.branches[repo_id].setdefault(name, self.hub.branches[repo_id]["main"])
        self.say({})

    def preupload(self, body: bytes, repo_id: str, revision: str) -> None:
        files = [
            {"path": one["path"], "uploadMode": "lfs" if one["size"] > LFS else "regular", "shouldIgnore": False}
            for one in json.loads(body)["files"]
        ]
        self.say({"files": files})

    def batch(self, body: bytes, repo_id: str) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}", "header": {}}}}
            for one in json.loads(body)["objects"]
        ]
        self.say({"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.large[oid] = body
        self.say({})

    def commit(self, body: bytes, repo_id: str, revision: str) -> None:
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        oid = self.hub.commit(repo_id, revision, files)
        self.say({"commitOid": oid, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{oid}", "hookOutput": ""})


ID = r"([\w.-]+/[\w.-]+)"
ROUTES = {
    rf"(?:GET|HEAD) /api/models/{ID}": _Handler.info,
    rf"GET /api/models/{ID}/revision/(.+)": _Handler.info,
    rf"GET /api/models/{ID}/tree/(.+)": _Handler.tree,
    rf"(?:GET|HEAD) /{ID}/resolve/([^/]+)/(.+)": _Handler.file,
    r"POST /api/repos/create": _Handler.create,
    rf"POST /api/models/{ID}/branch/(.+)": _Handler.branch,
    r"POST /api/validate-yaml": lambda self, body: self.say({"errors": [], "warnings": []}),
    rf"POST /api/models/{ID}/preupload/(.+)": _Handler.preupload,
    rf"POST /{ID}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /large/(\w+)": _Handler.put,
    rf"POST /api/models/{ID}/commit/(.+)": _Handler.commit,
}
